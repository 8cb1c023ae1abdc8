import * as pulumi from "@pulumi/pulumi";
import * as keepwarm from "@pulumi/keepwarm";

const jobs = new keepwarm.BurstQueue("jobs", { consumerTimeoutS: 30, maxConcurrency: 2, maxEventAgeS: 3600 });

const results = new keepwarm.DataBucket("results", { keepData: false });

const effects = new keepwarm.EffectLedger("effects", { keepData: false });

const measure = new keepwarm.PreprocessingFunction("measure", {
    code: new pulumi.asset.FileArchive("../build/function.zip"),
    runtime: "python3.12",
    timeoutS: 30,
    queue: {
        url: jobs.url,
        arn: jobs.arn,
        parkedUrl: jobs.parkedUrl,
        parkedArn: jobs.parkedArn,
        consumerTimeoutS: 30,
        batchSize: 10,
        batchWindowS: 1,
        maxConcurrency: 2,
    },
    ledger: {
        table: effects.table,
        tableArn: effects.tableArn,
        bucket: effects.bucket,
        bucketArn: effects.bucketArn,
    },
    results: {
        bucket: results.bucket,
        bucketArn: results.arn,
    },
});

new keepwarm.WarmPool("warm", {
    target: {
        functionName: measure.functionName,
        alias: measure.alias,
        compatibilityKey: measure.compatibilityKey,
    },
    environments: 1,
});

export const jobsUrl = jobs.url;
export const measureArn = measure.arn;
export const resultsBucket = results.bucket;
