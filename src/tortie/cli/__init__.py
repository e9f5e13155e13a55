"""The command line: what a user says, to the datastore or to the agent, and what comes of it in words.

files, documents, strict_yaml    what `-f` names, as documents
judge, subjects, namespaces      documents and names, as resources and keys
output, tables                   resources, as text
calicoctl, outcome, wording      calicoctl's manners and sentences
configuration, store             this host's settings, and the datastore that they name
agent_client, host_addresses     the agent's socket, the host

Every other module is one command, or commands that share their options.

Invariants: nothing is written before all input has been read and found right; results go to stdout and errors to
stderr; calicoctl's commands end with 0 or 1, tortie's own with 0 (done), 1 (failed) or 2 (usage).
"""
