//! The crypto providers, which every rustls configuration gets explicitly. The dependency tree has
//! two of them, so a process-wide default could be either.

use std::sync::{Arc, LazyLock};

use rustls::crypto::{CryptoProvider, aws_lc_rs};

/// Towards workstations: aws-lc-rs alone. They do not need brainpool, and a stranger must not reach
/// code that has had no audit.
pub(super) fn for_workstations() -> Arc<CryptoProvider> {
    static PROVIDER: LazyLock<Arc<CryptoProvider>> =
        LazyLock::new(|| Arc::new(aws_lc_rs::default_provider()));
    PROVIDER.clone()
}

/// Towards client modules: aws-lc-rs, and brainpool curves where that feature is on.
pub(super) fn for_client_modules() -> Arc<CryptoProvider> {
    static PROVIDER: LazyLock<Arc<CryptoProvider>> = LazyLock::new(|| {
        #[cfg_attr(not(feature = "brainpool"), expect(unused_mut))]
        let mut provider = aws_lc_rs::default_provider();
        #[cfg(feature = "brainpool")]
        super::client_modules::brainpool::add_to(&mut provider);
        Arc::new(provider)
    });
    PROVIDER.clone()
}
