"""tortie: Calico's plain-IP data path, without Kubernetes."""

__version__ = "0.1.0"
