//! [`Phone`]: a telephone number in E.164, and the [`PhoneKey`] by which it is matched.
//!
//! Brazilian mobiles gained a ninth digit (a leading 9) between 2012 and 2016, and WhatsApp still
//! knows many by their eight old ones. The same person is written `+55 11 9999-0000` here and
//! `+55 11 99999-0000` there, so numbers are matched by a key that always has the ninth digit,
//! while the number keeps the form in which it came. A landline has eight digits and never gets a
//! ninth: its number with a 9 before it is somebody else's.
//!
//! Sources: ITU-T E.164 (at most 15 digits with the country code); Anatel's numbering plan
//! (Resolução 749/2022 and the ninth digit of Resolução 553/2010): area codes, mobiles beginning
//! with 9, landlines with 2 to 5.

use std::fmt;

use crate::sensitive::redacted_debug;

/// A phone number in E.164: `+` and 8 to 15 digits, in the form in which it was received.
///
/// Personal data: `Debug` and `Display` hide it, and it is not serialised. Equality is of this
/// form; to ask whether two numbers are the same phone, compare their keys.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Phone(String);

/// What phones are matched by: E.164, for a Brazilian mobile always with its ninth digit.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PhoneKey(String);

redacted_debug!(Phone, PhoneKey);

/// What sort of number it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum PhoneKind {
    /// A Brazilian mobile, written with or without its ninth digit.
    BrazilianMobile,
    /// A Brazilian landline.
    BrazilianLandline,
    /// A number of another country, or one outside the plan for people's phones (0800).
    Other,
}

/// Why a text is no phone number. It never repeats the text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PhoneError {
    /// Something else than digits, a leading `+` and the usual punctuation.
    #[error("has characters that no phone number has")]
    Characters,
    /// Fewer digits than any number has, or more than E.164 allows.
    #[error("has too few or too many digits")]
    Length,
    /// Eight or nine digits: a Brazilian number without its area code.
    #[error("lacks the area code")]
    MissingAreaCode,
    /// Neither a Brazilian number nor one with `+` and a country code.
    #[error("is not a Brazilian number; one of another country begins with + and its code")]
    CountryCode,
    /// A Brazilian number with an area code that does not exist.
    #[error("has an area code that does not exist")]
    AreaCode,
    /// The part after the area code is neither a mobile's nor a landline's.
    #[error("must be a mobile (nine digits, beginning with 9) or a landline (eight digits)")]
    Subscriber,
}

/// The country code of Brazil.
const BRAZIL: &str = "55";
/// Digits of E.164 with the country code: the most it allows, and the fewest of any number in use.
const LENGTHS: std::ops::RangeInclusive<usize> = 8..=15;

impl Phone {
    /// A number as people write it: international with `+` or `00`, or Brazilian with its area
    /// code, with or without the 55, a trunk 0 and a carrier. Blanks and `( ) - . /` are ignored.
    pub fn parse(text: &str) -> Result<Self, PhoneError> {
        let written = Written::read(text)?;
        if written.international {
            return Self::international(&written.digits);
        }
        let digits = written.digits.as_str();
        if let Some(rest) = digits.strip_prefix("00") {
            return Self::international(rest);
        }
        if let Some(rest) = digits.strip_prefix('0') {
            return match rest.len() {
                10 | 11 => Self::national(rest),
                // A carrier's two digits stand between the trunk 0 and the area code.
                12 | 13 => Self::national(rest.get(2..).unwrap_or_default()),
                8 | 9 => Err(PhoneError::MissingAreaCode),
                _ => Err(PhoneError::Length),
            };
        }
        match digits.len() {
            // 55 is an area code as well, but a number with it has at most eleven digits.
            12 | 13 => digits
                .strip_prefix(BRAZIL)
                .ok_or(PhoneError::CountryCode)
                .and_then(Self::national),
            10 | 11 => Self::national(digits),
            8 | 9 => Err(PhoneError::MissingAreaCode),
            14 | 15 => Err(PhoneError::CountryCode),
            _ => Err(PhoneError::Length),
        }
    }

    /// A number as WhatsApp gives it: the digits of E.164 without the `+`, for Brazilian mobiles
    /// often without the ninth digit. Only the shape is checked: the provider knows which numbers
    /// exist, and a message is not refused for one that we believe does not.
    pub fn from_wa_id(digits: &str) -> Result<Self, PhoneError> {
        if !digits.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(PhoneError::Characters);
        }
        if !LENGTHS.contains(&digits.len()) {
            return Err(PhoneError::Length);
        }
        if digits.starts_with('0') {
            return Err(PhoneError::CountryCode);
        }
        Ok(Self(format!("+{digits}")))
    }

    /// A number that [`Phone::as_e164`] gave, for reading it back from a store.
    pub fn from_e164(text: &str) -> Result<Self, PhoneError> {
        Self::from_wa_id(text.strip_prefix('+').ok_or(PhoneError::Characters)?)
    }

    /// The digits after a `+` or `00`.
    fn international(digits: &str) -> Result<Self, PhoneError> {
        match digits.strip_prefix(BRAZIL) {
            // `+55 (011) …` is wrong and common.
            Some(rest) => Self::national(rest.strip_prefix('0').unwrap_or(rest)),
            None => Self::from_wa_id(digits),
        }
    }

    /// A Brazilian area code and number.
    fn national(digits: &str) -> Result<Self, PhoneError> {
        let (area, subscriber) = digits.split_at_checked(2).ok_or(PhoneError::Length)?;
        if !matches!(subscriber.len(), 8 | 9) {
            return Err(PhoneError::Length);
        }
        if !is_area_code(area) && !is_toll_free(digits) {
            return Err(PhoneError::AreaCode);
        }
        if is_area_code(area) && subscriber_kind(subscriber) == PhoneKind::Other {
            return Err(PhoneError::Subscriber);
        }
        Ok(Self(format!("+{BRAZIL}{digits}")))
    }

    /// The number in E.164, in the form in which it was received: with or without a ninth digit.
    pub fn as_e164(&self) -> &str {
        &self.0
    }

    /// The digits of E.164: what WhatsApp calls a `wa_id`.
    pub fn as_digits(&self) -> &str {
        self.0.strip_prefix('+').unwrap_or(&self.0)
    }

    /// What sort of number it is.
    pub fn kind(&self) -> PhoneKind {
        match self.brazilian() {
            Some((area, subscriber)) if is_area_code(area) => subscriber_kind(subscriber),
            _ => PhoneKind::Other,
        }
    }

    /// What it is matched by.
    pub fn canonical_key(&self) -> PhoneKey {
        match (self.kind(), self.brazilian()) {
            (PhoneKind::BrazilianMobile, Some((area, subscriber))) if subscriber.len() == 8 => {
                PhoneKey(format!("+{BRAZIL}{area}9{subscriber}"))
            }
            _ => PhoneKey(self.0.clone()),
        }
    }

    /// The texts under which the number is found, as prefixes of them are typed: all its digits,
    /// those without the country code, those without the area code, a mobile's eight without the
    /// ninth digit, and the last four; of a mobile also all without the ninth digit, after the
    /// country code and after the area code. Digits only, each once; the same for both forms of a
    /// Brazilian mobile. What was typed goes through [`search_digits`] first.
    pub fn search_tokens(&self) -> impl Iterator<Item = String> + use<> {
        let key = self.canonical_key();
        let digits = key.0.trim_start_matches('+');
        let brazilian = digits.starts_with(BRAZIL) && self.kind() != PhoneKind::Other;
        // From the left: the country code, the area code, the ninth digit.
        let cuts = if brazilian { [0, 2, 4] } else { [0; 3] };
        let from_the_right = [8, 4].map(|last| digits.len().saturating_sub(last));
        let mut starts: Vec<usize> = cuts.into_iter().chain(from_the_right).collect();
        starts.sort_unstable();
        starts.dedup();
        let mut tokens: Vec<String> = starts
            .into_iter()
            .filter_map(|start| digits.get(start..).map(str::to_owned))
            .collect();
        if self.kind() == PhoneKind::BrazilianMobile
            && let (Some(codes), Some(eight)) = (digits.get(..4), digits.get(5..))
        {
            let old = format!("{codes}{eight}");
            let national = old.strip_prefix(BRAZIL).map(str::to_owned);
            tokens.push(old);
            tokens.extend(national);
        }
        tokens.into_iter()
    }

    /// The area code and the rest, where the number has the country code and length of a
    /// Brazilian one.
    fn brazilian(&self) -> Option<(&str, &str)> {
        let national = self.as_digits().strip_prefix(BRAZIL)?;
        matches!(national.len(), 10 | 11).then(|| national.split_at(2))
    }
}

impl fmt::Display for Phone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

impl PhoneKey {
    /// The key: `+` and digits. What is stored and compared.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// What a typed text asks for among [`Phone::search_tokens`], as a prefix of one: `None` when the
/// text is no phone number nor a part of one, of at least three digits.
///
/// What is typed is searched as it is, as the beginning of a number or of a part, in either form of
/// a mobile; a trunk 0 and a carrier are left out.
pub fn search_digits(text: &str) -> Option<String> {
    let written = Written::read(text).ok()?;
    let digits = written.digits.as_str();
    if let Ok(phone) = Phone::parse(text) {
        // Ten digits are a number, and what is typed so far of one of eleven.
        let begins = phone.search_tokens().any(|token| token.starts_with(digits));
        let asked = if begins { digits } else { phone.as_digits() };
        return Some(asked.to_owned());
    }
    // Numbers are stored without a trunk 0; but "0000" may be the end of one.
    let part = match digits.strip_prefix('0') {
        Some(rest) if digits.len() > 4 => rest.strip_prefix('0').unwrap_or(rest),
        _ => digits,
    };
    (3..=15).contains(&part.len()).then(|| part.to_owned())
}

/// The digits of what somebody wrote, and whether a `+` stood before them.
struct Written {
    international: bool,
    digits: String,
}

impl Written {
    /// Trunk 0, carrier and E.164's fifteen digits: whatever has more is no number.
    const MOST: usize = 18;

    fn read(text: &str) -> Result<Self, PhoneError> {
        let mut international = false;
        let mut digits = String::with_capacity(Self::MOST);
        for character in text.trim().chars() {
            match character {
                '0'..='9' if digits.len() < Self::MOST => digits.push(character),
                '0'..='9' => return Err(PhoneError::Length),
                '+' if digits.is_empty() && !international => international = true,
                ignored if is_punctuation(ignored) => {}
                _ => return Err(PhoneError::Characters),
            }
        }
        Ok(Self {
            international,
            digits,
        })
    }
}

/// What stands between the digits of a written number. Dashes and direction marks come along when
/// it is copied from other applications.
fn is_punctuation(character: char) -> bool {
    character.is_whitespace()
        || matches!(
            character,
            '(' | ')' | '-' | '.' | '/' | '\u{FEFF}' | '\u{2060}'
                | '\u{200B}'..='\u{200F}' | '\u{2010}'..='\u{2015}'
                | '\u{202A}'..='\u{202E}' | '\u{2066}'..='\u{2069}'
        )
}

/// Whether Anatel gave the code to an area: 67 of them.
fn is_area_code(code: &str) -> bool {
    matches!(
        code.as_bytes(),
        [b'1' | b'4' | b'6' | b'8' | b'9', b'1'..=b'9']
            | [b'2', b'1' | b'2' | b'4' | b'7' | b'8']
            | [b'3', b'1'..=b'5' | b'7' | b'8']
            | [b'5', b'1' | b'3' | b'4' | b'5']
            | [b'7', b'1' | b'3' | b'4' | b'5' | b'7' | b'9']
    )
}

/// Numbers that belong to no area: 0300, 0303, 0500, 0800 and 0900 with seven digits more.
fn is_toll_free(national: &str) -> bool {
    national.len() == 10
        && ["300", "303", "500", "800", "900"]
            .iter()
            .any(|code| national.starts_with(code))
}

/// The kind of a number after its area code.
fn subscriber_kind(subscriber: &str) -> PhoneKind {
    match (subscriber.len(), subscriber.as_bytes().first()) {
        (9, Some(b'9')) | (8, Some(b'6'..=b'9')) => PhoneKind::BrazilianMobile,
        (8, Some(b'2'..=b'5')) => PhoneKind::BrazilianLandline,
        _ => PhoneKind::Other,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn key(text: &str) -> String {
        Phone::parse(text).unwrap().canonical_key().0
    }

    #[test]
    fn numbers_are_read_as_people_write_them() {
        for (given, e164) in [
            ("+5511999990000", "+5511999990000"),
            ("+55 (11) 99999-0000", "+5511999990000"),
            ("(+55) 11 99999 0000", "+5511999990000"),
            ("+55 (011) 99999-0000", "+5511999990000"),
            ("55 11 99999-0000", "+5511999990000"),
            ("0055 11 99999.0000", "+5511999990000"),
            ("(11) 99999-0000", "+5511999990000"),
            ("11/99999-0000", "+5511999990000"),
            ("011 99999-0000", "+5511999990000"),
            // With a carrier, 15 or 21.
            ("015 11 99999-0000", "+5511999990000"),
            ("0 21 11 3333-4444", "+551133334444"),
            // The old form is kept as it came.
            ("11 9999-0000", "+551199990000"),
            ("(11) 3333-4444", "+551133334444"),
            // 55 is an area code too.
            ("55 99999-0000", "+5555999990000"),
            ("55 3222-0000", "+555532220000"),
            ("55 55 3222-0000", "+555532220000"),
            ("+1 (212) 555-0100", "+12125550100"),
            ("00351 21 123 4567", "+351211234567"),
            ("0800 123 4567", "+558001234567"),
            // Copied from another application, with direction marks and no-break spaces.
            (
                "\u{202A}+55\u{A0}11 99999\u{2011}0000\u{202C}",
                "+5511999990000",
            ),
        ] {
            assert_eq!(
                Phone::parse(given).map(|phone| phone.0),
                Ok(e164.to_owned()),
                "{given}"
            );
        }
    }

    #[test]
    fn what_is_no_number_is_refused_by_the_rule_it_breaks() {
        for (given, why) in [
            ("", PhoneError::Length),
            ("+", PhoneError::Length),
            ("190", PhoneError::Length),
            ("99999-0000", PhoneError::MissingAreaCode),
            ("3333-4444", PhoneError::MissingAreaCode),
            ("0 3333-4444", PhoneError::MissingAreaCode),
            ("(10) 99999-0000", PhoneError::AreaCode),
            ("(23) 3333-4444", PhoneError::AreaCode),
            ("+55 00 99999-0000", PhoneError::AreaCode),
            // Nine digits are a mobile's, and they begin with 9.
            ("(11) 89999-0000", PhoneError::Subscriber),
            ("(11) 33333-4444", PhoneError::Subscriber),
            ("(11) 1333-4444", PhoneError::Subscriber),
            ("+55 11 999990", PhoneError::Length),
            ("+55 11 9999900001", PhoneError::Length),
            ("972987654321", PhoneError::CountryCode),
            ("+0123456789", PhoneError::CountryCode),
            ("+1234567", PhoneError::Length),
            ("+1234567890123456", PhoneError::Length),
            ("11 99999-0000 r. 2", PhoneError::Characters),
            ("11+999990000", PhoneError::Characters),
            ("++5511999990000", PhoneError::Characters),
            ("١١٩٩٩٩٩٠٠٠٠", PhoneError::Characters),
            ("ana@example.com", PhoneError::Characters),
        ] {
            assert_eq!(Phone::parse(given), Err(why), "{given}");
        }
    }

    #[test]
    fn whatsapp_ids_are_taken_as_they_come() {
        for (given, e164, canonical, kind) in [
            (
                "5511999990000",
                "+5511999990000",
                "+5511999990000",
                PhoneKind::BrazilianMobile,
            ),
            (
                "551199990000",
                "+551199990000",
                "+5511999990000",
                PhoneKind::BrazilianMobile,
            ),
            (
                "551133334444",
                "+551133334444",
                "+551133334444",
                PhoneKind::BrazilianLandline,
            ),
            (
                "972987654321",
                "+972987654321",
                "+972987654321",
                PhoneKind::Other,
            ),
            // Not in the plan as we know it, yet somebody wrote from it.
            (
                "552333334444",
                "+552333334444",
                "+552333334444",
                PhoneKind::Other,
            ),
            (
                "5511000000000",
                "+5511000000000",
                "+5511000000000",
                PhoneKind::Other,
            ),
        ] {
            let phone = Phone::from_wa_id(given).unwrap();
            assert_eq!(phone.as_e164(), e164);
            assert_eq!(phone.as_digits(), given);
            assert_eq!(phone.canonical_key().as_str(), canonical);
            assert_eq!(phone.kind(), kind, "{given}");
            assert_eq!(Phone::from_e164(e164), Ok(phone));
        }
        for wrong in [
            "",
            "1234567",
            "+5511999990000",
            "0511999990000",
            "1234567890123456",
            "5511999990000@s.whatsapp.net",
        ] {
            assert!(Phone::from_wa_id(wrong).is_err(), "{wrong}");
        }
        assert!(Phone::from_e164("5511999990000").is_err());
    }

    #[test]
    fn a_mobile_matches_with_and_without_its_ninth_digit() {
        for (old, new) in [
            ("11 9999-0000", "11 99999-0000"),
            ("51 8123-4567", "51 98123-4567"),
            ("85 6999-0000", "85 96999-0000"),
        ] {
            assert_eq!(key(old), key(new));
        }
        assert_ne!(key("11 9999-0000"), key("21 99999-0000"));
    }

    #[test]
    fn a_landline_never_matches_with_a_ninth_digit() {
        for landline in [
            "11 2345-6789",
            "11 3333-4444",
            "11 4444-5555",
            "11 5555-6666",
        ] {
            let phone = Phone::parse(landline).unwrap();
            assert_eq!(phone.kind(), PhoneKind::BrazilianLandline);
            assert_eq!(phone.canonical_key().as_str(), phone.as_e164());
            let with_nine = landline.replace("11 ", "11 9");
            assert_ne!(key(landline), key(&with_nine), "{landline}");
        }
    }

    #[test]
    fn there_are_67_area_codes() {
        let codes = (0..100).filter(|code| is_area_code(&format!("{code:02}")));
        assert_eq!(codes.count(), 67);
    }

    #[test]
    fn a_number_does_not_show_itself() {
        let phone = Phone::parse("11 99999-0000").unwrap();
        assert_eq!(format!("{phone} {phone:?}"), "*** Phone(***)");
        assert_eq!(format!("{:?}", phone.canonical_key()), "PhoneKey(***)");
    }

    #[test]
    fn a_number_is_found_by_what_people_type_of_it() {
        let found = |number: &str, typed: &str| {
            let asked = search_digits(typed)?;
            Phone::parse(number)
                .unwrap()
                .search_tokens()
                .find(|token| token.starts_with(&asked))
        };
        for number in ["+55 11 99999-0000", "11 9999-0000"] {
            for typed in [
                "+55 11 99999-0000",
                "+55 11 9999-0000",
                "5511999990000",
                "11999990000",
                "(11) 9999-0000",
                "011 99999-0000",
                "0 11 99999",
                "99999-0000",
                "9999-0000",
                "0000",
                "+55 11 9",
                "11 9999",
                "999",
                "+55 11 9999",
                "119999",
                "+55 11 9999-00",
                "1199990000",
            ] {
                assert!(found(number, typed).is_some(), "{number} by {typed}");
            }
            for typed in ["", "00", "11", "1234", "(21) 99999-0000", "ana", "0000 1"] {
                assert!(found(number, typed).is_none(), "{number} by {typed}");
            }
        }
        assert!(found("11 3333-4444", "3333-4444").is_some());
        assert!(found("11 3333-4444", "4444").is_some());
        assert!(found("11 3333-4444", "93333").is_none());
        assert!(found("+972 98 765 4321", "972987654321").is_some());
        assert!(found("+972 98 765 4321", "00 972 98").is_some());
        assert!(found("+972 98 765 4321", "4321").is_some());
    }

    #[test]
    fn search_tokens_are_few_and_each_once() {
        let tokens = |text| {
            Phone::parse(text)
                .unwrap()
                .search_tokens()
                .collect::<Vec<_>>()
        };
        assert_eq!(
            tokens("11 9999-0000"),
            [
                "5511999990000",
                "11999990000",
                "999990000",
                "99990000",
                "0000",
                "551199990000",
                "1199990000",
            ]
        );
        assert_eq!(
            tokens("11 3333-4444"),
            ["551133334444", "1133334444", "33334444", "4444"]
        );
        assert_eq!(tokens("+12345678"), ["12345678", "5678"]);
    }

    proptest! {
        #[test]
        fn any_text_is_parsed_without_a_panic(text in any::<String>()) {
            let _ = Phone::parse(&text);
            let _ = Phone::from_wa_id(&text);
            let _ = Phone::from_e164(&text);
            let _ = search_digits(&text);
        }

        #[test]
        fn what_is_parsed_is_e164_and_parses_to_itself(text in "[+0]{0,2}[0-9 ()./-]{0,20}") {
            if let Ok(phone) = Phone::parse(&text) {
                prop_assert!(phone.0.starts_with('+') && LENGTHS.contains(&(phone.0.len() - 1)));
                prop_assert_eq!(&Phone::parse(phone.as_e164()), &Ok(phone.clone()));
                prop_assert_eq!(&Phone::from_e164(phone.as_e164()), &Ok(phone.clone()));
                // The key is a number too, and its own key.
                let key = phone.canonical_key();
                let again = Phone::from_e164(key.as_str()).unwrap();
                prop_assert_eq!(again.kind(), phone.kind());
                prop_assert_eq!(again.canonical_key(), key);
                prop_assert_eq!(again.search_tokens().collect::<Vec<_>>(), phone.search_tokens().collect::<Vec<_>>());
            }
        }

        #[test]
        fn the_ninth_digit_is_all_that_keys_ignore(one in "55(11|55)[2-9][0-9]{7}|55(11|55)9[0-9]{8}", other in "55(11|55)[2-9][0-9]{7}|55(11|55)9[0-9]{8}") {
            let longer = |digits: &str| {
                let mobile = digits.len() == 13 || matches!(digits.as_bytes()[4], b'6'..=b'9');
                if mobile && digits.len() == 12 { format!("{}9{}", &digits[..4], &digits[4..]) } else { digits.to_owned() }
            };
            let same = longer(&one) == longer(&other);
            let keys = [&one, &other].map(|id| Phone::from_wa_id(id).unwrap().canonical_key());
            prop_assert_eq!(keys[0] == keys[1], same);
            prop_assert_eq!(Phone::from_wa_id(&one).unwrap().canonical_key(), Phone::from_wa_id(&longer(&one)).unwrap().canonical_key());
        }

        #[test]
        fn a_number_is_found_by_every_beginning_of_either_form(
            area in "(11|21|55)",
            subscriber in "[6-9][0-9]{7}",
            long in any::<bool>(),
            written in 0_usize..6,
            typed in 3_usize..14,
        ) {
            let whole = |ninth: &str| format!("+55{area}{ninth}{subscriber}");
            let phone = Phone::parse(&whole(if long { "9" } else { "" })).unwrap();
            let forms = [
                whole("9"),
                whole(""),
                format!("{area}9{subscriber}"),
                format!("{area}{subscriber}"),
                format!("9{subscriber}"),
                subscriber.clone(),
            ];
            let text: String = forms[written].chars().take(typed).collect();
            if let Some(asked) = search_digits(&text) {
                prop_assert!(
                    phone.search_tokens().any(|token| token.starts_with(&asked)),
                    "{} by {}", phone.as_e164(), text
                );
            }
        }

        #[test]
        fn whatever_is_a_number_finds_itself(text in "[+0]{0,2}[0-9 ()./-]{0,20}") {
            if let Ok(phone) = Phone::parse(&text) {
                let asked = search_digits(&text).unwrap();
                prop_assert!(phone.search_tokens().any(|token| token.starts_with(&asked)));
            }
        }

        #[test]
        fn every_number_is_found_by_its_whole_self(digits in "[1-9][0-9]{7,14}") {
            let phone = Phone::from_wa_id(&digits).unwrap();
            for typed in [format!("+{digits}"), digits.clone()] {
                // What reads as a Brazilian number without its country code is one.
                if Phone::parse(&typed).is_ok_and(|read| read != phone) {
                    continue;
                }
                let asked = search_digits(&typed).unwrap();
                prop_assert!(phone.search_tokens().any(|token| token.starts_with(&asked)));
            }
        }
    }
}
