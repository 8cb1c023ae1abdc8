"""What runs inside a serverless AI function: phases, verified models, effects, admission."""
