"""moto under the embedded cloud: how it is called, and what it lacks or does differently from AWS."""
