//! CPF and CNPJ, by which the Receita Federal knows people and companies.

use std::fmt;

/// The text is neither a CPF nor a CNPJ with right check digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("must be a CPF or CNPJ with right check digits")]
pub struct InvalidDocument;

/// A CPF: eleven digits, the last two of which check the others.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Cpf(String);

/// A CNPJ: fourteen characters, the last two of which are check digits. The first twelve may be
/// letters too (Instrução Normativa RFB 2.229/2024, in force since July 2026).
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Cnpj(String);

/// Either.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Document {
    /// A person's.
    Cpf(Cpf),
    /// A company's.
    Cnpj(Cnpj),
}

/// Drops the punctuation people write, upper-cases; `None` when anything else stands there.
fn bare(text: &str) -> Option<String> {
    let mut bare = String::with_capacity(14);
    for c in text.trim().chars() {
        match c {
            '.' | '-' | '/' | ' ' => {}
            c if c.is_ascii_alphanumeric() && bare.len() < 14 => bare.push(c.to_ascii_uppercase()),
            _ => return None,
        }
    }
    Some(bare)
}

fn all_the_same(text: &str) -> bool {
    text.bytes().all(|byte| Some(byte) == text.bytes().next())
}

/// The check digit of `stem`: characters count as ASCII − 48, weights rise from 2 at the right and
/// begin again after `highest`; a remainder below 2 gives 0.
fn check_digit(stem: &[u8], highest: u32) -> u8 {
    let weights = (2..=highest).cycle();
    let sum: u32 = stem
        .iter()
        .rev()
        .zip(weights)
        .map(|(byte, weight)| u32::from(byte - b'0') * weight)
        .sum();
    match sum % 11 {
        0 | 1 => b'0',
        rest => b'0' + u8::try_from(11 - rest).unwrap_or(0),
    }
}

fn checks(text: &str, highest: u32) -> bool {
    let bytes = text.as_bytes();
    let stem = bytes.len() - 2;
    bytes[stem] == check_digit(&bytes[..stem], highest)
        && bytes[stem + 1] == check_digit(&bytes[..=stem], highest)
}

impl Cpf {
    /// Reads a CPF with or without punctuation. Eleven equal digits pass the arithmetic and are
    /// refused all the same.
    pub fn parse(text: &str) -> Result<Self, InvalidDocument> {
        let text = bare(text).ok_or(InvalidDocument)?;
        let digits = text.len() == 11 && text.bytes().all(|byte| byte.is_ascii_digit());
        // Weights 10 to 2, then 11 to 2: they never begin again.
        if digits && !all_the_same(&text) && checks(&text, 11) {
            Ok(Self(text))
        } else {
            Err(InvalidDocument)
        }
    }

    /// The eleven digits.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Cnpj {
    /// Reads a CNPJ with or without punctuation, in either case.
    pub fn parse(text: &str) -> Result<Self, InvalidDocument> {
        let text = bare(text).ok_or(InvalidDocument)?;
        let shaped = text.len() == 14 && text.bytes().skip(12).all(|byte| byte.is_ascii_digit());
        if shaped && !all_the_same(&text) && checks(&text, 9) {
            Ok(Self(text))
        } else {
            Err(InvalidDocument)
        }
    }

    /// The fourteen characters, upper-case.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Document {
    /// Reads either; their lengths tell them apart.
    pub fn parse(text: &str) -> Result<Self, InvalidDocument> {
        Cpf::parse(text)
            .map(Self::Cpf)
            .or_else(|_| Cnpj::parse(text).map(Self::Cnpj))
    }

    /// `cpf` or `cnpj`.
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Cpf(_) => "cpf",
            Self::Cnpj(_) => "cnpj",
        }
    }

    /// The bare characters.
    pub fn as_str(&self) -> &str {
        match self {
            Self::Cpf(cpf) => cpf.as_str(),
            Self::Cnpj(cnpj) => cnpj.as_str(),
        }
    }
}

macro_rules! hide {
    ($($name:ident),+) => {$(
        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(concat!(stringify!($name), "(***)"))
            }
        }
    )+};
}
hide!(Cpf, Cnpj, Document);

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn documents_with_right_check_digits_are_read() {
        for text in [
            "111.444.777-35",
            "12345678909",
            "11.222.333/0001-81",
            "12.abc.345/01de-35",
            "00000000000191",
            "00000001910",
            " 529 982 247 25 ",
        ] {
            assert!(Document::parse(text).is_ok(), "{text}");
        }
        assert_eq!(
            Document::parse("12.abc.345/01de-35").unwrap().as_str(),
            "12ABC34501DE35"
        );
        assert_eq!(Document::parse("11144477735").unwrap().kind(), "cpf");
    }

    #[test]
    fn wrong_ones_are_refused() {
        for text in [
            "",
            "11144477734",
            "11111111111",
            "00000000000000",
            "12ABC34501DE99",
            "12ABC34501DEA5",
            "ABCDEFGHIJKL81",
            "1114447773",
            "111444777355",
            "a11144477735",
            "١١١٤٤٤٧٧٧٣٥",
        ] {
            assert_eq!(Document::parse(text), Err(InvalidDocument), "{text}");
        }
    }

    #[test]
    fn debug_does_not_show_the_number() {
        assert_eq!(
            format!("{:?}", Document::parse("11144477735").unwrap()),
            "Document(***)"
        );
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic(text in any::<String>()) {
            let _ = Document::parse(&text);
        }

        #[test]
        fn a_stem_has_one_pair_of_check_digits(stem in "[0-9]{9}|[0-9A-Z]{12}") {
            prop_assume!(!all_the_same(&stem));
            let right = (0..100).filter(|pair| Document::parse(&format!("{stem}{pair:02}")).is_ok());
            prop_assert_eq!(right.count(), 1);
        }

        #[test]
        fn a_changed_digit_is_noticed(stem in "[0-9]{9}", at in 0_usize..9, by in 1_u8..10) {
            let mut bytes = stem.into_bytes();
            for _ in 0..2 {
                let digit = check_digit(&bytes, 11);
                bytes.push(digit);
            }
            let right = String::from_utf8(bytes.clone()).unwrap();
            bytes[at] = b'0' + (bytes[at] - b'0' + by) % 10;
            let wrong = String::from_utf8(bytes).unwrap();
            prop_assume!(!all_the_same(&right));
            prop_assert!(Cpf::parse(&right).is_ok());
            // One digit of the stem changed: at least one check digit must differ, but for the
            // two remainders that share the digit 0.
            if Cpf::parse(&wrong).is_ok() {
                prop_assert!(right.ends_with('0') || right[..10].ends_with('0'));
            }
        }

        #[test]
        fn a_cnpj_of_letters_and_digits_keeps_its_check_digits(stem in "[0-9A-Z]{12}") {
            let mut bytes = stem.into_bytes();
            for _ in 0..2 {
                let digit = check_digit(&bytes, 9);
                bytes.push(digit);
            }
            let text = String::from_utf8(bytes).unwrap();
            prop_assume!(!all_the_same(&text));
            let parsed = Cnpj::parse(&text.to_lowercase()).unwrap();
            prop_assert_eq!(parsed.as_str(), text);
        }
    }
}
