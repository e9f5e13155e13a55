"""What FelixConfiguration is made of: the settings of Calico's agent by subject, one struct each.

`FelixConfigurationSpec` has all of them as fields of its own. A struct has one base, so they are a chain: `process`,
`endpoints`, `routes`, `packets`, `netfilter`, `bpf`, `tunnels`. None and empty mean unset everywhere; the text of a
field says what counts then. tortie acts on a few (`kinds.felixconfiguration.HONOURED`) and keeps the others.
"""
