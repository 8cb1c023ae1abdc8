"""AWS Security Token Service: identities and temporary credentials."""
