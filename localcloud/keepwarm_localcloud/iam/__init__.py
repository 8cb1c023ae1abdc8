"""Who may do what: credentials, the action a request asks for, policies and their evaluation."""
