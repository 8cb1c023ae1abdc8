"""An embedded AWS that really runs the functions, tasks and queues of a serverless AI stack."""
