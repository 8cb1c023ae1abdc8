"""Where the table of resource types does not say what both outside sources say, and why: reviewed, one reason a group.

Each line is a type, a property (`*` stands for any part of a path) and the mark that the table has, or has not.
"Provider" is the Terraform AWS provider, which pulumi-aws bridges; its schema was read for these, since neither its
docstrings nor AWS's schemas tell what it does there.
"""

REVIEWED: tuple[tuple[str, str], ...] = (
    (
        "AWS's schema has no such property: there the whole names it. Another whole is another resource.",
        """
        appautoscaling.ScheduledAction serviceNamespace !
        appautoscaling.ScheduledAction resourceId !
        appautoscaling.ScheduledAction scalableDimension !
        cloudwatch.EventTarget rule !
        cloudwatch.EventTarget eventBusName !
        ecr.LifecyclePolicy repository !
        iam.RolePolicyAttachment role !
        iam.RolePolicyAttachment policyArn !
        lambda.ProvisionedConcurrencyConfig functionName !
        lambda.ProvisionedConcurrencyConfig qualifier !
        s3.BucketCorsConfiguration bucket !
        s3.BucketLifecycleConfiguration bucket !
        s3.BucketLogging bucket !
        s3.BucketNotification bucket !
        s3.BucketObjectLockConfiguration bucket !
        s3.BucketObjectv2 bucket !
        s3.BucketObjectv2 key !
        s3.BucketOwnershipControls bucket !
        s3.BucketPublicAccessBlock bucket !
        s3.BucketServerSideEncryptionConfiguration bucket !
        s3.BucketVersioning bucket !
        s3.BucketCorsConfiguration expectedBucketOwner !
        s3.BucketLifecycleConfiguration expectedBucketOwner !
        s3.BucketLogging expectedBucketOwner !
        s3.BucketObjectLockConfiguration expectedBucketOwner !
        s3.BucketServerSideEncryptionConfiguration expectedBucketOwner !
        s3.BucketVersioning expectedBucketOwner !
        secretsmanager.SecretVersion secretId !
        sns.TopicPolicy arn !
        sqs.QueuePolicy queueUrl !
        sqs.RedriveAllowPolicy queueUrl !
        sqs.RedrivePolicy queueUrl !
        """,
    ),
    (
        "The name of a part: AWS's schema lets its owner be updated by dropping the part and adding another, which is "
        "what the provider does too, as a replacement.",
        """
        appautoscaling.ScheduledAction name !
        cloudwatch.EventRule name !
        cloudwatch.EventTarget targetId !
        """,
    ),
    (
        "The provider replaces, since the API has no call that changes it; AWS's schema says nothing, or counts the "
        "property as updatable since CloudFormation replaces on other grounds.",
        """
        apigatewayv2.Integration integrationType !
        apigatewayv2.Integration integrationSubtype !
        appautoscaling.Target roleArn !
        autoscaling.Group initialLifecycleHooks !
        cloudwatch.EventRule eventBusName !
        cloudwatch.LogGroup logGroupClass !
        dynamodb.Table hashKey !
        dynamodb.Table rangeKey !
        dynamodb.Table localSecondaryIndexes !
        ec2.Eip domain !
        ec2.Eip publicIpv4Pool !
        ec2.RouteTableAssociation gatewayId !
        ecs.Service launchType !
        ecs.Service deploymentController !
        kms.Key keyUsage !
        kms.Key customerMasterKeySpec !
        kms.Key multiRegion !
        lambda.Function durableConfig !
        lambda.LayerVersion s3Bucket !
        lambda.LayerVersion s3Key !
        lambda.LayerVersion s3ObjectVersion !
        lambda.LayerVersion sourceCodeHash !
        lambda.Permission statementId !
        lambda.Permission qualifier !
        s3.Bucket objectLockEnabled !
        s3.BucketObjectLockConfiguration objectLockEnabled !
        scheduler.Schedule groupName !
        secretsmanager.SecretVersion secretString !
        secretsmanager.SecretVersion secretBinary !
        servicediscovery.Service dnsConfig.namespaceId !
        servicediscovery.Service dnsConfig.routingPolicy !
        ssm.Parameter dataType !
        """,
    ),
    (
        "The provider changes it in place by an API call that CloudFormation does not use.",
        """
        ec2.RouteTableAssociation routeTableId not !
        vpc.SecurityGroupEgressRule ipProtocol not !
        vpc.SecurityGroupEgressRule fromPort not !
        vpc.SecurityGroupEgressRule toPort not !
        vpc.SecurityGroupIngressRule ipProtocol not !
        vpc.SecurityGroupIngressRule fromPort not !
        vpc.SecurityGroupIngressRule toPort not !
        """,
    ),
    (
        "Replaces under a condition, which the type's `replaces` knows: a rule changes its kind of source, an advanced "
        "parameter becomes a standard one, an endpoint is no interface.",
        """
        ec2.VpcEndpoint privateDnsEnabled not !
        ssm.Parameter tier not !
        vpc.SecurityGroupEgressRule cidrIpv4 not !
        vpc.SecurityGroupEgressRule cidrIpv6 not !
        vpc.SecurityGroupEgressRule prefixListId not !
        vpc.SecurityGroupEgressRule referencedSecurityGroupId not !
        vpc.SecurityGroupIngressRule cidrIpv4 not !
        vpc.SecurityGroupIngressRule cidrIpv6 not !
        vpc.SecurityGroupIngressRule prefixListId not !
        vpc.SecurityGroupIngressRule referencedSecurityGroupId not !
        """,
    ),
    (
        "Optional in the provider, and it suppresses the difference when a program leaves the property out.",
        """
        apigatewayv2.Integration integrationMethod ?
        apigatewayv2.Integration passthroughBehavior ?
        apigatewayv2.Stage defaultRouteSettings ?
        cloudwatch.EventRule state ?
        cloudwatch.EventRule isEnabled ?
        ecr.Repository encryptionConfigurations ?
        ecs.Service deploymentCircuitBreaker ?
        ecs.Service deploymentController ?
        ecs.Service propagateTags ?
        lambda.EventSourceMapping batchSize ?
        lambda.Function loggingConfig.logFormat ?
        lambda.Function loggingConfig.applicationLogLevel ?
        lambda.Function loggingConfig.systemLogLevel ?
        s3.BucketLifecycleConfiguration rules.filter ?
        scheduler.Schedule target.retryPolicy ?
        servicediscovery.Service dnsConfig.routingPolicy ?
        servicediscovery.Service healthCheckCustomConfig.failureThreshold ?
        """,
    ),
    (
        "A program that drops its last index means it; the provider keeps what it finds so that indexes can be "
        "resources of their own, which are not supported here.",
        """
        dynamodb.Table globalSecondaryIndexes not ?
        """,
    ),
    (
        "A default in the provider's schema of which its docstring says nothing.",
        """
        autoscaling.Group healthCheckGracePeriod =300
        autoscaling.Group waitForCapacityTimeout =10m
        cloudwatch.EventRule eventBusName =default
        cloudwatch.EventTarget eventBusName =default
        ecs.Service deploymentMaximumPercent =200
        ecs.Service deploymentMinimumHealthyPercent =100
        iam.InstanceProfile path =/
        iam.Role maxSessionDuration =3600
        scheduler.Schedule groupName =default
        """,
    ),
    (
        "AWS fills it in and the provider takes any value; every account has had only VPC addresses since 2022.",
        """
        ec2.Eip domain =vpc
        """,
    ),
    (
        "What AWS does without a word from the program; its API reports only what was given, so no difference arises.",
        """
        autoscaling.Group mixedInstancesPolicy.*.instanceRequirements.* not =*
        autoscaling.Group instanceRefresh.preferences.* not =*
        ec2.LaunchTemplate * not =*
        ecr.Repository encryptionConfigurations.encryptionType not =AES256
        ecs.Service deploymentController.type not =ECS
        ecs.Service deploymentConfiguration.lifecycleHooks.targetType not =AWS_LAMBDA
        ecs.TaskDefinition volumes.efsVolumeConfiguration.* not =DISABLED
        kms.Key deletionWindowInDays not =30
        scheduler.Schedule target.ecsParameters.taskCount not =1
        scheduler.Schedule target.retryPolicy.* not =*
        """,
    ),
    (
        "The docstring's number is a limit, not a default.",
        """
        cloudwatch.EventRule eventPattern not =4096
        """,
    ),
    (
        "Kept secret though the provider does not: secrets of a program often end up in a function's variables.",
        """
        lambda.Function environment.variables *
        """,
    ),
    (
        "A set in the provider; the docstring calls it a list, and AWS's schema says nothing of its order.",
        """
        apigatewayv2.Route authorizationScopes ~
        autoscaling.Group suspendedProcesses ~
        autoscaling.Group initialLifecycleHooks ~
        cloudwatch.MetricAlarm *Actions ~
        cloudwatch.MetricAlarm metricQueries ~
        dynamodb.Table globalSecondaryIndexes ~
        dynamodb.Table globalSecondaryIndexes.nonKeyAttributes ~
        dynamodb.Table localSecondaryIndexes ~
        dynamodb.Table localSecondaryIndexes.nonKeyAttributes ~
        ec2.LaunchTemplate vpcSecurityGroupIds ~
        ec2.LaunchTemplate securityGroupNames ~
        ec2.RouteTable routes ~
        ec2.SecurityGroup ingress.* ~
        ec2.SecurityGroup egress.* ~
        ecs.Cluster settings ~
        ecs.Service capacityProviderStrategies ~
        ecs.Service placementConstraints ~
        ecs.Service loadBalancers ~
        lambda.EventSourceMapping functionResponseTypes ~
        lambda.Function vpcConfig.securityGroupIds ~
        lambda.Function vpcConfig.subnetIds ~
        s3.BucketNotification *.events ~
        secretsmanager.SecretVersion versionStages ~
        """,
    ),
    (
        "A document, though the docstring does not say so.",
        """
        cloudwatch.Dashboard dashboardBody :json
        iam.Role assumeRolePolicy :json
        sfn.StateMachine definition :json
        sns.Topic deliveryPolicy :json
        """,
    ),
    (
        "The docstring mentions JSON, but the text is passed on as it is, or names a format.",
        """
        cloudwatch.EventTarget input not :json
        cloudwatch.EventTarget inputTransformer.inputTemplate not :json
        ecs.Service serviceConnectConfiguration.accessLogConfiguration.format not :json
        lambda.Function loggingConfig.logFormat not :json
        scheduler.Schedule target.input not :json
        """,
    ),
)
