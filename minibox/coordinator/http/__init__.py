"""The coordinator's HTTP door: streaming requests, typed routes, problem documents."""
