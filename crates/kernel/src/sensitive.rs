//! Values that must not show.
//!
//! ```compile_fail
//! // Does not compile: what is sensitive is never serialised.
//! serde_json::to_string(&kernel::Sensitive::new("secret")).ok();
//! ```

use std::fmt;

/// A value that shows nothing of itself: `Debug` and `Display` print `***`, and it cannot be
/// serialised, so that it reaches no log, span, event or error text by accident. Whoever needs
/// the value says so: [`Sensitive::expose`].
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Sensitive<T>(T);

impl<T> Sensitive<T> {
    /// Hides a value.
    pub const fn new(value: T) -> Self {
        Self(value)
    }

    /// The value. Each call is a place to ask where it goes.
    pub const fn expose(&self) -> &T {
        &self.0
    }

    /// The value itself.
    pub fn into_inner(self) -> T {
        self.0
    }
}

impl<T> From<T> for Sensitive<T> {
    fn from(value: T) -> Self {
        Self(value)
    }
}

impl<T> fmt::Debug for Sensitive<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

impl<T> fmt::Display for Sensitive<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

/// Gives types that hold personal data a `Debug` that names the type and hides the value.
macro_rules! redacted_debug {
    ($($name:ident),+ $(,)?) => {$(
        impl std::fmt::Debug for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(concat!(stringify!($name), "(***)"))
            }
        }
    )+};
}
pub(crate) use redacted_debug;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn neither_debug_nor_display_shows_the_value() {
        let name = Sensitive::new("Maria".to_owned());
        assert_eq!(
            format!("{name} {name:?} {:?}", Some(&name)),
            "*** *** Some(***)"
        );
        assert_eq!(name.expose(), "Maria");
    }
}
