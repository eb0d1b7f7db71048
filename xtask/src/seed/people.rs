//! Plausible Brazilian people, made up from a fixed seed: the same every time, nobody real.

use fastrand::Rng;
use serde_json::{Value, json};

const FIRST_NAMES: &[&str] = &[
    "Ana",
    "Antônia",
    "Beatriz",
    "Camila",
    "Cecília",
    "Daniela",
    "Débora",
    "Elisângela",
    "Fernanda",
    "Francisca",
    "Gabriela",
    "Helena",
    "Inês",
    "Isabela",
    "Joana",
    "Júlia",
    "Larissa",
    "Letícia",
    "Lívia",
    "Luísa",
    "Márcia",
    "Maria",
    "Mariana",
    "Patrícia",
    "Raquel",
    "Renata",
    "Rosângela",
    "Sônia",
    "Tatiane",
    "Valéria",
    "Adriano",
    "Alexandre",
    "André",
    "Antônio",
    "Bruno",
    "Caio",
    "Carlos",
    "Cláudio",
    "Davi",
    "Diego",
    "Eduardo",
    "Fábio",
    "Felipe",
    "Francisco",
    "Gabriel",
    "Guilherme",
    "Gustavo",
    "Heitor",
    "Igor",
    "João",
    "José",
    "Leonardo",
    "Luís",
    "Marcelo",
    "Matheus",
    "Otávio",
    "Paulo",
    "Pedro",
    "Rafael",
    "Raimundo",
    "Rodrigo",
    "Thiago",
    "Vinícius",
    "Wesley",
];

const MIDDLE_NAMES: &[&str] = &[
    "Aparecida",
    "Augusto",
    "Clara",
    "Cristina",
    "das Graças",
    "de Fátima",
    "do Carmo",
    "Eduarda",
    "Henrique",
    "Luiz",
    "Roberto",
    "Vitória",
];

const SURNAMES: &[&str] = &[
    "Almeida",
    "Alves",
    "Andrade",
    "Araújo",
    "Assunção",
    "Barbosa",
    "Barros",
    "Batista",
    "Cardoso",
    "Carvalho",
    "Conceição",
    "Costa",
    "Cruz",
    "da Silva",
    "de Jesus",
    "de Souza",
    "Dias",
    "dos Santos",
    "Farias",
    "Fernandes",
    "Ferreira",
    "Freitas",
    "Gomes",
    "Gonçalves",
    "Lima",
    "Lopes",
    "Magalhães",
    "Marques",
    "Martins",
    "Melo",
    "Mendes",
    "Miranda",
    "Monteiro",
    "Moraes",
    "Moreira",
    "Moura",
    "Nakamura",
    "Nascimento",
    "Nogueira",
    "Nunes",
    "Oliveira",
    "Pereira",
    "Pinto",
    "Queiroz",
    "Ramos",
    "Ribeiro",
    "Rocha",
    "Rodrigues",
    "Sales",
    "Sampaio",
    "Schneider",
    "Tavares",
    "Teixeira",
    "Vieira",
    "Xavier",
    "Yamamoto",
];

/// Area codes with a share of the seed's people, São Paulo's most often.
const AREA_CODES: &[&str] = &[
    "11", "11", "11", "19", "21", "21", "31", "41", "51", "61", "71", "81", "85",
];

const TAGS: &[&str] = &[
    "convênio",
    "particular",
    "retorno",
    "ortodontia",
    "clareamento",
    "implante",
    "primeira consulta",
    "indicação",
    "alergia informada",
    "prefere WhatsApp",
    "idoso",
    "infantil",
];

const SOURCES: &[&str] = &[
    "manual",
    "indicação",
    "instagram",
    "google",
    "site",
    "convênio",
];

const NOTES: &[&str] = &[
    "Prefere ser atendida no período da tarde.",
    "Costuma chegar uns minutos antes; gosta de confirmar por mensagem.",
    "Pediu para não ligar em horário comercial.",
    "Veio por indicação de um familiar que já é paciente.",
];

/// A made-up person.
#[derive(Debug, Clone)]
pub(crate) struct Person {
    /// Full name.
    pub(crate) name: String,
    /// Mobile as WhatsApp gives it: digits with country code.
    pub(crate) wa_id: String,
    /// What `POST /api/v1/contacts` takes.
    pub(crate) contact: Value,
}

/// `count` people, no two with the same phone, e-mail or CPF.
pub(crate) fn people(rng: &mut Rng, count: usize) -> Vec<Person> {
    (0..count).map(|index| person(rng, index)).collect()
}

fn person(rng: &mut Rng, index: usize) -> Person {
    let name = full_name(rng);
    let area = pick(rng, AREA_CODES);
    // The index keeps numbers apart; 9xxxx-xxxx is a mobile's form.
    let mobile = format!("9{}{:06}", rng.u8(6..10), index * 1_009 % 1_000_000);
    let mobile = format!("{mobile:0<9}");
    let wa_id = format!("55{area}{}", &mobile[..9]);
    let mut phones = vec![json!({ "value": format!("+{wa_id}"), "label": "celular" })];
    if rng.u8(..) < 50 {
        let landline = format!("+55{area}3{:03}{:04}", rng.u16(100..999), index);
        phones.push(json!({ "value": landline, "label": "casa" }));
    }
    let mut contact = json!({
        "name": name,
        "status": pick(rng, &["active", "active", "active", "lead", "inactive"]),
        "source": pick(rng, SOURCES),
        "tags": tags(rng),
        "phones": phones,
    });
    if rng.u8(..) < 200 {
        contact["emails"] = json!([{ "value": email(&name, index) }]);
    }
    if rng.u8(..) < 180 {
        contact["document"] = json!(cpf(rng, index));
    }
    if rng.u8(..) < 220 {
        let (year, month, day) = (rng.u16(1940..2021), rng.u8(1..13), rng.u8(1..29));
        contact["birthDate"] = json!(format!("{year}-{month:02}-{day:02}"));
    }
    if rng.u8(..) < 60 {
        contact["notes"] = json!(pick(rng, NOTES));
    }
    Person {
        name,
        wa_id,
        contact,
    }
}

/// A first name, perhaps a middle one, and one or two surnames.
pub(crate) fn full_name(rng: &mut Rng) -> String {
    let mut parts = vec![pick(rng, FIRST_NAMES)];
    if rng.u8(..) < 70 {
        parts.push(pick(rng, MIDDLE_NAMES));
    }
    parts.push(pick(rng, SURNAMES));
    if rng.bool() {
        let second = pick(rng, SURNAMES);
        if !parts.contains(&second) {
            parts.push(second);
        }
    }
    parts.join(" ")
}

/// An address under `example.com`, which nobody receives (RFC 2606).
fn email(name: &str, index: usize) -> String {
    let plain: String = name
        .to_lowercase()
        .chars()
        .map(|c| match c {
            'á' | 'à' | 'â' | 'ã' => 'a',
            'é' | 'ê' => 'e',
            'í' => 'i',
            'ó' | 'ô' | 'õ' => 'o',
            'ú' => 'u',
            'ç' => 'c',
            ' ' => '.',
            other => other,
        })
        .collect();
    format!("{plain}.{index}@example.com")
}

/// A CPF with right check digits (weights 10 to 2, then 11 to 2, modulo 11).
fn cpf(rng: &mut Rng, index: usize) -> String {
    let stem = format!(
        "{:03}{:06}",
        rng.u16(100..999),
        (index * 7_919 + 13) % 1_000_000
    );
    let mut digits: Vec<u32> = stem.chars().filter_map(|c| c.to_digit(10)).collect();
    for _ in 0..2 {
        let weights = (2..).take(digits.len()).collect::<Vec<u32>>();
        let sum: u32 = digits
            .iter()
            .rev()
            .zip(weights)
            .map(|(digit, weight)| digit * weight)
            .sum();
        digits.push(match sum % 11 {
            0 | 1 => 0,
            rest => 11 - rest,
        });
    }
    digits.iter().map(ToString::to_string).collect()
}

fn tags(rng: &mut Rng) -> Vec<&'static str> {
    let mut tags: Vec<_> = (0..rng.usize(0..4)).map(|_| pick(rng, TAGS)).collect();
    tags.sort_unstable();
    tags.dedup();
    tags
}

/// One of a list of texts.
pub(crate) fn pick(rng: &mut Rng, from: &[&'static str]) -> &'static str {
    from[rng.usize(..from.len())]
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn no_two_people_share_a_phone_an_email_or_a_document() {
        let people = people(&mut Rng::with_seed(1), 300);
        let phones: HashSet<_> = people.iter().map(|person| &person.wa_id).collect();
        assert_eq!(phones.len(), 300);
        for field in ["document", "emails"] {
            let values: Vec<_> = people.iter().filter_map(|p| p.contact.get(field)).collect();
            let distinct: HashSet<_> = values.iter().map(ToString::to_string).collect();
            assert_eq!(values.len(), distinct.len(), "{field}");
        }
    }

    #[test]
    fn the_same_seed_makes_the_same_people() {
        let names = |seed| {
            people(&mut Rng::with_seed(seed), 20)
                .into_iter()
                .map(|p| p.name)
                .collect::<Vec<_>>()
        };
        assert_eq!(names(7), names(7));
        assert_ne!(names(7), names(8));
    }

    #[test]
    fn a_mobile_has_its_ninth_digit() {
        for person in people(&mut Rng::with_seed(3), 300) {
            assert_eq!(person.wa_id.len(), 13, "{}", person.wa_id);
            assert_eq!(&person.wa_id[4..5], "9");
        }
    }
}
