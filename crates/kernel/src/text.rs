//! Texts that people write: names, and the folding by which they are found and ordered.

use std::fmt;

use unicode_normalization::UnicodeNormalization as _;
use unicode_normalization::char::is_combining_mark;

/// Most tokens one text gives.
const MAX_TOKENS: usize = 16;
/// Longest token, in characters; a longer word is cut.
const MAX_TOKEN: usize = 32;
/// Shortest token, in characters.
pub const MIN_TOKEN: usize = 3;

/// A person's or a company's name: 1 to 200 characters, something of it visible, trimmed, runs of
/// spaces made one, no control characters.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PersonName(String);

/// The text is no name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("must have 1 to 200 characters and no control characters")]
pub struct InvalidName;

impl PersonName {
    /// Longest name, in characters.
    pub const MAX: usize = 200;

    /// Tidies and checks.
    pub fn parse(text: &str) -> Result<Self, InvalidName> {
        let name = text.split_whitespace().collect::<Vec<_>>().join(" ");
        let length = name.chars().count();
        let seen = name.chars().any(is_visible);
        if !seen || length > Self::MAX || name.chars().any(is_disruptive) {
            return Err(InvalidName);
        }
        Ok(Self(name))
    }

    /// What can be made of a name that a provider gave, or that was stored under looser rules:
    /// control characters dropped, cut to size. `None` when nothing is left.
    pub fn salvage(text: &str) -> Option<Self> {
        let clean: String = text
            .chars()
            .map(|c| if c.is_whitespace() { ' ' } else { c })
            .filter(|c| !is_disruptive(*c))
            .collect();
        let tidy = clean.split_whitespace().collect::<Vec<_>>().join(" ");
        let cut: String = tidy.chars().take(Self::MAX).collect();
        Self::parse(&cut).ok()
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// One line that people write: trimmed, of at most `most` characters, something of it visible,
/// nothing [disruptive](is_disruptive) in it. `None` when the text is no such line.
pub fn line(text: &str, most: usize) -> Option<String> {
    let text = text.trim();
    let fits = text.chars().count() <= most && text.chars().any(is_visible);
    (fits && !text.chars().any(is_disruptive)).then(|| text.to_owned())
}

/// Whether it disturbs the line it stands in: control characters (of which U+0000 cannot even be
/// stored), the separators of lines and paragraphs, and the direction's embeddings, overrides and
/// isolates, by which a text can pass for another (Unicode technical report 36, section 2.10.3).
pub fn is_disruptive(c: char) -> bool {
    let reorders = matches!(c, '\u{202A}'..='\u{202E}' | '\u{2066}'..='\u{2069}');
    c.is_control() || reorders || matches!(c, '\u{2028}' | '\u{2029}')
}

/// Whether a reader would see it. Some profiles consist of fillers, joiners and direction marks
/// alone, which would leave an empty line in a list.
fn is_visible(c: char) -> bool {
    let unseen = matches!(c,
        '\u{AD}' | '\u{61C}' | '\u{115F}' | '\u{1160}' | '\u{180B}'..='\u{180F}'
        | '\u{200B}'..='\u{200F}' | '\u{202A}'..='\u{202E}' | '\u{2060}'..='\u{206F}'
        | '\u{2800}' | '\u{3164}' | '\u{FEFF}' | '\u{FFA0}' | '\u{FFF0}'..='\u{FFFB}'
        | '\u{E0000}'..='\u{E0FFF}');
    !unseen && !c.is_whitespace() && !c.is_control() && !is_combining_mark(c)
}

impl fmt::Debug for PersonName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PersonName(***)")
    }
}

/// The text without accents and in lower case, for comparing: `João Inês` is `joao ines`.
///
/// Compatibility forms become plain ones (Unicode NFKD: `ﬁ` is `fi`), marks are dropped, and the
/// Latin letters without a decomposition are written as people do who have no key for them.
pub fn fold(text: &str) -> String {
    let mut folded = String::with_capacity(text.len());
    for c in text.nfkd().filter(|c| !is_combining_mark(*c)) {
        // Lower-casing may bring a mark of its own: U+0130 gives an i and a dot above.
        for c in c.to_lowercase().filter(|c| !is_combining_mark(*c)) {
            match c {
                'ß' => folded.push_str("ss"),
                'æ' => folded.push_str("ae"),
                'œ' => folded.push_str("oe"),
                'þ' => folded.push_str("th"),
                'ø' => folded.push('o'),
                'đ' | 'ð' => folded.push('d'),
                'ħ' => folded.push('h'),
                'ı' => folded.push('i'),
                'ł' => folded.push('l'),
                'ŧ' => folded.push('t'),
                'ς' => folded.push('σ'),
                c => folded.push(c),
            }
        }
    }
    folded
}

/// What names are ordered by: the name folded, and cut to the longest name's length.
///
/// Folding may write one letter as eighteen (U+FDFA is a whole sentence), and then an index or a
/// cursor would have no room for it.
pub fn name_key(name: &str) -> String {
    fold(name).chars().take(PersonName::MAX).collect()
}

/// The words of a text as search tokens: folded, of three characters or more, each once, at most
/// sixteen, in the order they stand.
pub fn tokens(text: &str) -> Vec<String> {
    let folded = fold(text);
    let mut tokens: Vec<String> = Vec::new();
    for word in folded.split(|c: char| !c.is_alphanumeric()) {
        if word.chars().count() < MIN_TOKEN {
            continue;
        }
        let token: String = word.chars().take(MAX_TOKEN).collect();
        if !tokens.contains(&token) {
            tokens.push(token);
            if tokens.len() == MAX_TOKENS {
                break;
            }
        }
    }
    tokens
}

/// The texts that begin with `prefix`, as a range by bytes (`COLLATE "C"`): from the first bound,
/// included, to the second, excluded. `None` is no upper bound: nothing lies above.
pub fn prefix_bounds(prefix: &str) -> (String, Option<String>) {
    let mut chars: Vec<char> = prefix.chars().collect();
    while let Some(last) = chars.pop() {
        // The next code point, over the gap of the surrogates.
        let next = match last {
            '\u{D7FF}' => Some('\u{E000}'),
            last => char::from_u32(u32::from(last) + 1),
        };
        if let Some(next) = next {
            chars.push(next);
            return (prefix.to_owned(), Some(chars.into_iter().collect()));
        }
    }
    (prefix.to_owned(), None)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn folding_drops_accents_and_case() {
        assert_eq!(fold("João INÊS Conceição"), "joao ines conceicao");
        assert_eq!(fold("Straße Ærø İ"), "strasse aero i");
        assert_eq!(
            fold("Łódź Œuvre ısı Þór Đorđe"),
            "lodz oeuvre isi thor dorde"
        );
        assert_eq!(fold("ΣΊΣΥΦΟΣ"), fold("σίσυφος"));
        assert_eq!(fold("ﬁm ① Ｆｕｌｌ"), "fim 1 full");
    }

    #[test]
    fn tokens_are_words_of_three_characters_or_more_each_once() {
        assert_eq!(tokens("Ana de Souza-Lima, ANA"), ["ana", "souza", "lima"]);
        assert!(tokens("de Sá").is_empty());
    }

    #[test]
    fn a_name_is_tidied() {
        assert_eq!(
            PersonName::parse("  Ana \t Lima ").unwrap().as_str(),
            "Ana Lima"
        );
        assert_eq!(PersonName::parse(" \n "), Err(InvalidName));
        assert_eq!(PersonName::parse("a\u{0}b"), Err(InvalidName));
        assert!(PersonName::parse(&"á".repeat(201)).is_err());
    }

    #[test]
    fn a_line_is_visible_and_disturbs_nothing_around_it() {
        assert_eq!(line(" Rua 1 ", 5).as_deref(), Some("Rua 1"));
        assert_eq!(line("Rua 12", 5), None);
        for wrong in [
            "",
            " ",
            "\u{200B}",
            "a\u{0}b",
            "a\nb",
            "a\u{2028}b",
            "\u{202E}anA",
        ] {
            assert_eq!(line(wrong, 200), None, "{wrong:?}");
            assert!(
                PersonName::salvage(wrong).is_none_or(|name| line(name.as_str(), 200).is_some())
            );
        }
        assert!(PersonName::parse("Ana\u{202E}").is_err());
    }

    #[test]
    fn a_providers_name_is_salvaged_or_nothing_is() {
        assert_eq!(
            PersonName::salvage("Ana\u{0} 💙\n").unwrap().as_str(),
            "Ana 💙"
        );
        assert_eq!(PersonName::salvage("\u{0}\u{7}"), None);
        // A filler and joiners: what people write who want no name.
        assert_eq!(PersonName::salvage("\u{3164}\u{200D}\u{FEFF}"), None);
        assert_eq!(
            PersonName::salvage(&"x".repeat(500))
                .unwrap()
                .as_str()
                .len(),
            200
        );
    }

    #[test]
    fn the_range_above_the_last_code_point_is_open() {
        assert_eq!(prefix_bounds("\u{10FFFF}").1, None);
        assert_eq!(prefix_bounds("a\u{10FFFF}").1, Some("b".to_owned()));
        assert_eq!(prefix_bounds("\u{D7FF}").1, Some("\u{E000}".to_owned()));
    }

    proptest! {
        #[test]
        fn case_does_not_matter(text in "[a-zA-Zà-öø-ÿÀ-ÖØ-Þ ]{0,40}") {
            prop_assert_eq!(fold(&text), fold(&text.to_uppercase()));
            prop_assert_eq!(fold(&text), fold(&text.to_lowercase()));
        }

        #[test]
        fn tokens_are_bounded_and_tokens_of_themselves(text in any::<String>()) {
            let found = tokens(&text);
            prop_assert!(found.len() <= MAX_TOKENS);
            for token in found {
                prop_assert!((MIN_TOKEN..=MAX_TOKEN).contains(&token.chars().count()));
                prop_assert_eq!(tokens(&token), vec![token]);
            }
        }

        #[test]
        fn a_prefix_range_is_right_at_the_edges_of_the_encoding(
            prefix in "[a-b\u{7F}\u{80}\u{7FF}\u{800}\u{D7FF}\u{E000}\u{FFFF}\u{10000}\u{10FFFF}]{0,3}",
            text in "[a-b\u{7F}\u{80}\u{7FF}\u{800}\u{D7FF}\u{E000}\u{FFFF}\u{10000}\u{10FFFF}]{0,4}",
        ) {
            let (low, high) = prefix_bounds(&prefix);
            let inside = text >= low && high.is_none_or(|high| text < high);
            prop_assert_eq!(inside, text.starts_with(&prefix));
        }

        #[test]
        fn folding_is_stable(text in any::<String>()) {
            let once = fold(&text);
            prop_assert_eq!(fold(&once), once);
        }

        #[test]
        fn a_prefix_range_holds_exactly_what_begins_with_it(prefix in "\\PC{1,4}", other in "\\PC{0,6}") {
            let (low, high) = prefix_bounds(&prefix);
            for text in [other.clone(), format!("{prefix}{other}")] {
                let inside = text.as_bytes() >= low.as_bytes()
                    && high.as_ref().is_none_or(|high| text.as_bytes() < high.as_bytes());
                prop_assert_eq!(inside, text.starts_with(&prefix));
            }
        }

        #[test]
        fn a_salvaged_name_is_a_name(text in any::<String>()) {
            if let Some(name) = PersonName::salvage(&text) {
                prop_assert_eq!(PersonName::parse(name.as_str()), Ok(name));
            }
        }
    }
}
