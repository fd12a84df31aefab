//! Which workstation an address belongs to.
