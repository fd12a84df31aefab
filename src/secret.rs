//! A value that is never printed.

use std::fmt;

use zeroize::Zeroize;

/// A password, or bytes that contain one. `Debug` hides it in every build profile, there is no
/// `Display`, and our own copy is overwritten when it is dropped.
///
/// Reading it takes [`Secret::expose`], so that every reader can be found by its name.
pub struct Secret<T: Zeroize>(T);

impl<T: Zeroize> Secret<T> {
    /// Takes the value in.
    pub fn new(value: T) -> Self {
        Self(value)
    }

    /// The value itself, for sending it on or for comparing it; never for a log or an error.
    pub fn expose(&self) -> &T {
        &self.0
    }
}

impl<T: Zeroize + Clone> Clone for Secret<T> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<T: Zeroize> fmt::Debug for Secret<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[secret]")
    }
}

impl<T: Zeroize> Drop for Secret<T> {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_output_hides_the_value() {
        let password = Secret::new(String::from("geheim"));
        assert_eq!(format!("{password:?}"), "[secret]");
        assert_eq!(password.expose(), "geheim");
    }
}
