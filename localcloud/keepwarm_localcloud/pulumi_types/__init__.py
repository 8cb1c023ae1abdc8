"""What the embedded cloud's Pulumi provider knows: one file, or folder, per AWS service, and what they share.

```
table       the way in for both drivers: check, diff, create, read, update, delete by token
tokens      every supported type, and where it is
base        what a type is: `ResourceType`, `Call`; fields reads its specification against schema.json
compare     inputs checked, and compared with the state
convert     Pulumi's names, tags and times <-> the API's; answers: what an error of AWS means
aws         clients and deadlines; assets, package_upload: code and its way to the cloud
locate      finds what a killed run made; invokes: data sources
facts       what outside sources say of the properties (tools/type_facts writes it and schema.json)
wire        values as the engine sends them; reference: docs/engine.md
```

To add a type: name it in `tokens`, write its class in its service's file and list that in `TYPES`, say in `locate` how
to find one by its inputs unless it has a name, add a case to tests/localcloud/test_resources_roundtrip.py, and run
`python -m tools.type_facts` and `python -m keepwarm_localcloud.pulumi_types.reference docs/engine.md`. The tests name
what is missing.
"""
