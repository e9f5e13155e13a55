"""Chains of others that would drop what policy accepts.

packet     a packet as far as it is known, and the ways of packets that tortie needs
ruleset    chains and rules of any program, and what a rule does to such a packet
nft        nf_tables in that form, and so iptables-nft
legacy     iptables-legacy in that form
walk       what becomes of a packet in a base chain: surely, or perhaps
verdicts   from that to findings
"""
