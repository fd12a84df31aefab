//! The one crypto provider, passed explicitly everywhere: with two of them in the dependency tree
//! a process-wide default would be a matter of luck.

use std::sync::{Arc, LazyLock};

use rustls::crypto::{CryptoProvider, aws_lc_rs};

/// aws-lc-rs, and brainpool curves where that feature is on.
pub(super) fn provider() -> Arc<CryptoProvider> {
    static PROVIDER: LazyLock<Arc<CryptoProvider>> = LazyLock::new(|| {
        #[cfg_attr(not(feature = "brainpool"), expect(unused_mut))]
        let mut provider = aws_lc_rs::default_provider();
        #[cfg(feature = "brainpool")]
        super::brainpool::add_to(&mut provider);
        Arc::new(provider)
    });
    PROVIDER.clone()
}
