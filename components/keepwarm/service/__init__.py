"""Parts of a GPU service: its inputs, hosts, network, task and scaling."""
