//! One of the crowd: a made-up person with names, numbers and tags as common as they are in life,
//! and some that are rare.

use chrono::{DateTime, NaiveDate, TimeDelta, Utc};
use contacts::{ContactEmail, ContactPhone, ContactStatus, NewContact, Notes, Source, Tag, Tags};
use kernel::document::Document;
use kernel::email::Email;
use kernel::phone::Phone;
use kernel::text::{PersonName, fold};
use uuid::Uuid;

use crate::crowd::{Crowd, WrittenContact};

/// The most common first.
const FIRST_NAMES: &[&str] = &[
    "Maria",
    "José",
    "Ana",
    "João",
    "Antônio",
    "Francisco",
    "Carlos",
    "Paulo",
    "Pedro",
    "Lucas",
    "Luiz",
    "Marcos",
    "Luís",
    "Gabriel",
    "Rafael",
    "Francisca",
    "Daniel",
    "Marcelo",
    "Bruno",
    "Eduardo",
    "Antônia",
    "Felipe",
    "Rodrigo",
    "Mateus",
    "André",
    "Adriana",
    "Juliana",
    "Márcia",
    "Fernanda",
    "Patrícia",
    "Aline",
    "Sandra",
    "Camila",
    "Amanda",
    "Bruna",
    "Jéssica",
    "Letícia",
    "Júlia",
    "Luciana",
    "Vanessa",
    "Mariana",
    "Gabriela",
    "Vera",
    "Vitória",
    "Larissa",
    "Cláudia",
    "Beatriz",
    "Rita",
    "Luana",
    "Sônia",
    "Renata",
    "Eliane",
    "Otávio",
    "Conceição",
    "Thaís",
    "Ágata",
    "Zuleica",
    "Quitéria",
];

/// The most common first.
const SURNAMES: &[&str] = &[
    "Silva",
    "Santos",
    "Oliveira",
    "Souza",
    "Rodrigues",
    "Ferreira",
    "Alves",
    "Pereira",
    "Lima",
    "Gomes",
    "Costa",
    "Ribeiro",
    "Martins",
    "Carvalho",
    "Almeida",
    "Lopes",
    "Soares",
    "Fernandes",
    "Vieira",
    "Barbosa",
    "Rocha",
    "Dias",
    "Nascimento",
    "Andrade",
    "Moreira",
    "Nunes",
    "Marques",
    "Machado",
    "Mendes",
    "Freitas",
    "Cardoso",
    "Ramos",
    "Gonçalves",
    "Santana",
    "Teixeira",
    "Araújo",
    "Cavalcanti",
    "Moura",
    "Batista",
    "Campos",
    "Monteiro",
    "Pinto",
    "Correia",
    "Azevedo",
    "Queiroz",
    "Nakamura",
    "Schneider",
    "Yamamoto",
];

/// Rare surnames are made of three of these.
const SYLLABLES: &[&str] = &[
    "bra", "cor", "dal", "fer", "gui", "kov", "lan", "mar", "nel", "pas", "quin", "ros", "sal",
    "tor", "val", "zan", "ber", "chi", "lho", "nho", "rel", "tti", "ves", "wal",
];

/// The most common first; the last is very rare.
const TAGS: &[&str] = &[
    "convênio",
    "particular",
    "retorno",
    "ortodontia",
    "clareamento",
    "implante",
    "indicação",
    "prefere WhatsApp",
    "infantil",
    "idoso",
];
/// A tag of one contact in some ten thousand.
pub const RARE_TAG: &str = "alergia a látex";

/// The most common first.
const SOURCES: &[&str] = &[
    "manual",
    "whatsapp",
    "indicação",
    "instagram",
    "google",
    "site",
];
/// A source of one contact in some ten thousand.
pub const RARE_SOURCE: &str = "feira";

const DOMAINS: &[&str] = &[
    "gmail.example",
    "hotmail.example",
    "outlook.example",
    "uol.example",
];

const AREA_CODES: &[&str] = &["11", "21", "31", "41", "51", "61", "71", "81", "85", "19"];

/// Chance from a seed (SplitMix64).
#[derive(Debug)]
pub struct Dice(u64);

impl Dice {
    /// The same seed gives the same numbers.
    pub const fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// Any number.
    pub const fn roll(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    /// A number below `end`; 0 where there is none.
    pub const fn below(&mut self, end: u64) -> u64 {
        if end == 0 { 0 } else { self.roll() % end }
    }

    /// True once in so many times.
    pub const fn one_in(&mut self, times: u64) -> bool {
        self.below(times) == 0
    }

    /// One of these, each as often.
    fn any<T: Copy>(&mut self, of: &[T]) -> T {
        of[usize::try_from(self.below(of.len() as u64)).unwrap_or(0)]
    }

    /// One of these, the first ones far more often.
    fn common<T: Copy>(&mut self, of: &[T]) -> T {
        let end = 1 + self.below(of.len() as u64);
        of[usize::try_from(self.below(end)).unwrap_or(0)]
    }

    /// An id of version 7, made at `at`.
    pub fn id(&mut self, at: DateTime<Utc>) -> Uuid {
        let millis = u64::try_from(at.timestamp_millis()).unwrap_or(0);
        let mut random = [0; 10];
        random[..8].copy_from_slice(&self.roll().to_be_bytes());
        random[8..].copy_from_slice(&self.roll().to_be_bytes()[..2]);
        uuid::Builder::from_unix_timestamp_millis(millis, &random).into_uuid()
    }
}

/// A made-up person, as a contact of a clinic.
#[derive(Debug, Clone)]
pub struct Person {
    /// The contact as a service hands it to the store.
    pub contact: NewContact,
    /// When it was changed last.
    pub updated_at: DateTime<Utc>,
    /// Whether it was put away then.
    pub is_archived: bool,
}

impl Person {
    /// The person of that number among so many, in the clinic of that rank. Phones, e-mails and
    /// documents are no two numbers' alike.
    ///
    /// # Panics
    ///
    /// Never: what is made here keeps the rules of its types.
    pub fn make(dice: &mut Dice, number: u64, of: u64, clinic: usize) -> Self {
        let at = instant(number, of) + TimeDelta::microseconds(dice_micros(dice));
        let name = name(dice);
        let mut phones = vec![phone(dice, 9, number)];
        if dice.one_in(6) {
            phones.push(phone(dice, 3, number));
        }
        let emails = if dice.one_in(3) {
            Vec::new()
        } else {
            vec![email(dice, &name, number)]
        };
        let age = TimeDelta::days(i64::try_from(dice.below(30_000)).unwrap_or(0));
        let contact = NewContact {
            custom_fields: contacts::CustomChange::default(),
            id: dice.id(at).into(),
            name: PersonName::parse(&name).expect("a name"),
            social_name: dice
                .one_in(100)
                .then(|| PersonName::parse(dice.common(FIRST_NAMES)).expect("a name")),
            birth_date: (!dice.one_in(5))
                .then(|| NaiveDate::from_ymd_opt(2024, 1, 1).expect("a date") - age),
            document: dice.one_in(2).then(|| document(number)).flatten(),
            status: *[
                ContactStatus::Active,
                ContactStatus::Lead,
                ContactStatus::Inactive,
            ]
            .get(
                usize::try_from(dice.below(10))
                    .unwrap_or(0)
                    .saturating_sub(5)
                    / 2,
            )
            .unwrap_or(&ContactStatus::Active),
            source: source(dice),
            owner: dice.one_in(2).then(|| owner(dice, clinic)),
            notes: dice.one_in(6).then(|| {
                Notes::new("Prefere ser atendida no período da tarde.".to_owned()).expect("a note")
            }),
            tags: tags(dice),
            phones,
            emails,
            at,
        };
        let since = instant(of, of) - at;
        let changed = TimeDelta::seconds(
            i64::try_from(dice.below(since.num_seconds().max(1).unsigned_abs())).unwrap_or(0),
        );
        Self {
            contact,
            updated_at: if dice.one_in(3) { at } else { at + changed },
            is_archived: dice.one_in(12),
        }
    }

    /// The contact as it is written.
    pub fn written(&self) -> WrittenContact<'_> {
        WrittenContact {
            contact: &self.contact,
            updated_at: self.updated_at,
            is_archived: self.is_archived,
        }
    }
}

/// Contacts come evenly over three years, up to the autumn of 2026.
fn instant(number: u64, of: u64) -> DateTime<Utc> {
    const FIRST: i64 = 1_698_796_800; // 2023-11-01
    const SECONDS: i64 = 3 * 365 * 86_400;
    let share = i128::from(number) * i128::from(SECONDS) / i128::from(of.max(1));
    let seconds = FIRST + i64::try_from(share).unwrap_or(0);
    DateTime::from_timestamp(seconds, 0).unwrap_or_default()
}

fn dice_micros(dice: &mut Dice) -> i64 {
    i64::try_from(dice.below(1_000_000)).unwrap_or(0)
}

fn name(dice: &mut Dice) -> String {
    let mut parts = vec![dice.common(FIRST_NAMES).to_owned()];
    if dice.one_in(4) {
        parts.push(dice.common(FIRST_NAMES).to_owned());
    }
    parts.push(dice.common(SURNAMES).to_owned());
    if dice.one_in(3) {
        let rare = [
            dice.any(SYLLABLES),
            dice.any(SYLLABLES),
            dice.any(SYLLABLES),
        ]
        .concat();
        let mut letters = rare.chars();
        let first = letters.next().unwrap_or('x').to_uppercase();
        parts.push(first.chain(letters).collect());
    } else if dice.one_in(2) {
        parts.push(dice.common(SURNAMES).to_owned());
    }
    parts.join(" ")
}

/// A mobile's first digit is 9, a landline's 3.
fn phone(dice: &mut Dice, first: u64, number: u64) -> ContactPhone {
    let area = dice.any(AREA_CODES);
    let text = if first == 9 {
        // 9, 6 to 9, and seven digits: no two numbers give the same.
        format!("+55{area}9{}", 60_000_000 + number * 1_009 % 40_000_000)
    } else {
        format!("+55{area}3{:07}", number * 1_009 % 10_000_000)
    };
    ContactPhone {
        phone: Phone::parse(&text).expect("a phone"),
        label: None,
    }
}

fn email(dice: &mut Dice, name: &str, number: u64) -> ContactEmail {
    let local = fold(name).replace(' ', ".");
    let domain = dice.common(DOMAINS);
    ContactEmail {
        email: Email::parse(&format!("{local}.{number}@{domain}")).expect("an e-mail"),
        label: None,
    }
}

/// A CPF whose first nine digits are the number, scattered; its check digits are tried out.
/// None where they were all the same.
fn document(number: u64) -> Option<Document> {
    let stem = (number * 7_919 + 100_000_007) % 1_000_000_000;
    (0..100).find_map(|check| Document::parse(&format!("{stem:09}{check:02}")).ok())
}

fn source(dice: &mut Dice) -> Source {
    let text = if dice.one_in(10_000) {
        RARE_SOURCE
    } else {
        dice.common(SOURCES)
    };
    Source::new(text).expect("a source")
}

fn owner(dice: &mut Dice, clinic: usize) -> kernel::UserId {
    let number = if dice.one_in(5_000) {
        5
    } else {
        dice.common(&[0, 1, 2, 3, 4])
    };
    Crowd::user(clinic, number)
}

fn tags(dice: &mut Dice) -> Tags {
    let count = dice.below(4);
    let mut tags: Vec<Tag> = (0..count)
        .map(|_| Tag::new(dice.common(TAGS)).expect("a tag"))
        .collect();
    if dice.one_in(10_000) {
        tags.push(Tag::new(RARE_TAG).expect("a tag"));
    }
    Tags::new(tags).expect("few tags")
}
