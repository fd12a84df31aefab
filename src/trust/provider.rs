//! The one crypto provider, passed explicitly everywhere: with two of them in the dependency tree
//! a process-wide default would be a matter of luck.

use std::sync::{Arc, LazyLock};

use rustls::crypto::{CryptoProvider, aws_lc_rs};

/// Towards workstations: aws-lc-rs alone. They have no need of brainpool, and strangers shall not
/// reach code that nobody audited.
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
