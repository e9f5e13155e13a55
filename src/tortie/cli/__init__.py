"""The command line: what a user says, to the datastore or to the agent, and what comes of it in words.

files, documents, strict_yaml    what `-f` names, as documents
judge, subjects, namespaces      documents and names, as resources and keys
bulk, progress                   the same work on many of them
patches/                         documents, changed by patches
finding, answer, forms           what `get` asks, what it found, and the forms of `-o`
output, yaml_text, columns       resources, as documents and tables
tables, terminal                 rows of text; what looks better on a terminal
gotemplate/, go_structs          Go templates, and resources as they see them
jsonpath/                        kubectl's JSONPath templates
calicoctl, outcome, wording      calicoctl's manners and sentences
absent                           calicoctl's words that are not here
cluster_version                  which Calico tortie stands for
fields, examples/                the model's own documentation, for the terminal and the reference
reference, command_reference     the pages of kinds and of commands
complete, nearest                what an unfinished word, or a misspelt name, may mean
configuration, store             this host's settings, and the datastore that they name
agent_client, host_addresses     the agent's socket, the host

Every other module is one command, or commands that share their options.

Invariants: nothing is written before all input has been read; results go to stdout and errors to
stderr; calicoctl's commands end with 0 or 1, tortie's own with 0 (done), 1 (failed) or 2 (usage).
"""
