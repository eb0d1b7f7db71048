//! What mails say, in the clinic's language: Portuguese, English or Spanish. Plain text, and the
//! same as simple HTML without images, so that nothing is fetched when a mail is read.

use chrono::{DateTime, Utc};

use crate::mail::{Letter, Matter};
use crate::role::Role;
use crate::values::Locale;

/// A written mail.
pub(crate) struct Written {
    pub(crate) subject: String,
    pub(crate) text: String,
    pub(crate) html: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Language {
    Portuguese,
    English,
    Spanish,
}

impl Language {
    /// Portuguese wherever nothing else is known.
    fn of(locale: Option<&Locale>) -> Self {
        match locale.map(|locale| locale.as_str().split('-').next().unwrap_or_default()) {
            Some("en") => Self::English,
            Some("es") => Self::Spanish,
            _ => Self::Portuguese,
        }
    }
}

/// The parts of a mail, each a paragraph; the link stands alone.
struct Parts {
    subject: String,
    greeting: String,
    before: String,
    /// What the link is called in HTML.
    call: &'static str,
    after: String,
}

/// Writes a letter whose link is `link`.
pub(crate) fn write(letter: &Letter, link: &str, now: DateTime<Utc>) -> Written {
    let language = Language::of(letter.locale.as_ref());
    let parts = parts(language, letter, now);
    let text = format!(
        "{}\n\n{}\n\n{link}\n\n{}\n",
        parts.greeting, parts.before, parts.after
    );
    let paragraph = |text: &str| format!("<p>{}</p>\n", escaped(text));
    let html = format!(
        "<!doctype html>\n<html lang=\"{}\">\n<head><meta charset=\"utf-8\"><title>{}</title></head>\n\
         <body>\n{}{}<p><a href=\"{}\">{}</a></p>\n{}</body>\n</html>\n",
        match language {
            Language::Portuguese => "pt-BR",
            Language::English => "en",
            Language::Spanish => "es",
        },
        escaped(&parts.subject),
        paragraph(&parts.greeting),
        paragraph(&parts.before),
        escaped(link),
        escaped(parts.call),
        paragraph(&parts.after),
    );
    Written {
        subject: parts.subject,
        text,
        html,
    }
}

fn parts(language: Language, letter: &Letter, now: DateTime<Utc>) -> Parts {
    let name = tame(letter.name.as_str());
    let valid = duration(language, (letter.expires_at - now).num_minutes());
    match &letter.matter {
        Matter::Invitation {
            clinic,
            inviter,
            role,
        } => {
            let clinic = tame(clinic.as_str());
            let inviter = inviter.as_ref().map(|name| tame(name.as_str()));
            invitation(language, &name, &clinic, inviter.as_deref(), *role, &valid)
        }
        Matter::PasswordReset => password_reset(language, &name, &valid),
    }
}

fn invitation(
    language: Language,
    name: &str,
    clinic: &str,
    inviter: Option<&str>,
    role: Role,
    valid: &str,
) -> Parts {
    let role = role_name(language, role);
    match language {
        Language::Portuguese => Parts {
            subject: format!("Convite para {clinic}"),
            greeting: format!("Olá, {name}."),
            before: match inviter {
                Some(inviter) => format!(
                    "{inviter} convidou você para fazer parte da equipe de {clinic} no Acolhe, \
                     com o perfil {role}. Para aceitar, abra este link:"
                ),
                None => format!(
                    "Você foi convidado(a) para fazer parte da equipe de {clinic} no Acolhe, com o \
                     perfil {role}. Para aceitar, abra este link:"
                ),
            },
            call: "Aceitar o convite",
            after: format!(
                "O link vale por {valid} e só pode ser usado uma vez. Se você não esperava este \
                 convite, ignore este e-mail: nada acontece."
            ),
        },
        Language::English => Parts {
            subject: format!("Invitation to {clinic}"),
            greeting: format!("Hello {name},"),
            before: match inviter {
                Some(inviter) => format!(
                    "{inviter} invited you to join the team of {clinic} on Acolhe as {role}. To \
                     accept, open this link:"
                ),
                None => format!(
                    "You were invited to join the team of {clinic} on Acolhe as {role}. To accept, \
                     open this link:"
                ),
            },
            call: "Accept the invitation",
            after: format!(
                "The link is good for {valid} and can be used once. If you did not expect this \
                 invitation, ignore this mail: nothing will happen."
            ),
        },
        Language::Spanish => Parts {
            subject: format!("Invitación a {clinic}"),
            greeting: format!("Hola, {name}:"),
            before: match inviter {
                Some(inviter) => format!(
                    "{inviter} le invitó a formar parte del equipo de {clinic} en Acolhe, con el \
                     perfil {role}. Para aceptar, abra este enlace:"
                ),
                None => format!(
                    "Recibió una invitación para formar parte del equipo de {clinic} en Acolhe, con \
                     el perfil {role}. Para aceptar, abra este enlace:"
                ),
            },
            call: "Aceptar la invitación",
            after: format!(
                "El enlace vale por {valid} y solo puede usarse una vez. Si no esperaba esta \
                 invitación, ignore este correo: no pasa nada."
            ),
        },
    }
}

fn password_reset(language: Language, name: &str, valid: &str) -> Parts {
    match language {
        Language::Portuguese => Parts {
            subject: "Nova senha no Acolhe".to_owned(),
            greeting: format!("Olá, {name}."),
            before: "Recebemos um pedido para criar uma nova senha da sua conta no Acolhe. Para \
                     criá-la, abra este link:"
                .to_owned(),
            call: "Criar uma nova senha",
            after: format!(
                "O link vale por {valid} e só pode ser usado uma vez. Se não foi você quem pediu, \
                 ignore este e-mail: sua senha continua a mesma."
            ),
        },
        Language::English => Parts {
            subject: "A new password on Acolhe".to_owned(),
            greeting: format!("Hello {name},"),
            before: "We got a request for a new password of your account on Acolhe. To set it, \
                     open this link:"
                .to_owned(),
            call: "Set a new password",
            after: format!(
                "The link is good for {valid} and can be used once. If it was not you who asked, \
                 ignore this mail: your password stays as it is."
            ),
        },
        Language::Spanish => Parts {
            subject: "Nueva contraseña en Acolhe".to_owned(),
            greeting: format!("Hola, {name}:"),
            before: "Recibimos una solicitud para crear una nueva contraseña de su cuenta en \
                     Acolhe. Para crearla, abra este enlace:"
                .to_owned(),
            call: "Crear una nueva contraseña",
            after: format!(
                "El enlace vale por {valid} y solo puede usarse una vez. Si no fue usted quien la \
                 pidió, ignore este correo: su contraseña sigue siendo la misma."
            ),
        },
    }
}

fn role_name(language: Language, role: Role) -> &'static str {
    use {Language as L, Role as R};
    match (language, role) {
        (L::Portuguese, R::Owner) => "responsável",
        (L::Portuguese, R::Admin) => "administração",
        (L::Portuguese, R::Professional) => "profissional",
        (L::Portuguese, R::Receptionist) => "recepção",
        (L::Portuguese, R::Finance) => "financeiro",
        (L::Portuguese, R::Readonly) => "somente leitura",
        (L::English, R::Owner) => "owner",
        (L::English, R::Admin) => "administrator",
        (L::English, R::Professional) => "professional",
        (L::English, R::Receptionist) => "receptionist",
        (L::English, R::Finance) => "finance",
        (L::English, R::Readonly) => "read-only",
        (L::Spanish, R::Owner) => "responsable",
        (L::Spanish, R::Admin) => "administración",
        (L::Spanish, R::Professional) => "profesional",
        (L::Spanish, R::Receptionist) => "recepción",
        (L::Spanish, R::Finance) => "finanzas",
        (L::Spanish, R::Readonly) => "solo lectura",
    }
}

/// Rounded down to the largest unit of which there are two or more.
fn duration(language: Language, minutes: i64) -> String {
    let minutes = minutes.max(1);
    let (count, [pt, en, es]) = match minutes {
        2880.. => (minutes / 1440, ["dias", "days", "días"]),
        120.. => (minutes / 60, ["horas", "hours", "horas"]),
        1 => (1, ["minuto", "minute", "minuto"]),
        _ => (minutes, ["minutos", "minutes", "minutos"]),
    };
    let unit = match language {
        Language::Portuguese => pt,
        Language::English => en,
        Language::Spanish => es,
    };
    format!("{count} {unit}")
}

/// A name that no mail program takes for a link: whoever invites chooses the names in a mail that
/// we send in our own.
fn tame(name: &str) -> String {
    let mut tame = String::with_capacity(name.len());
    let mut chars = name.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '/' | '\\' | ':' | '@' => tame.push(' '),
            '.' if chars.peek().is_some_and(|next| next.is_alphanumeric()) => tame.push_str(". "),
            c if c.is_control() => tame.push(' '),
            c => tame.push(c),
        }
    }
    tame.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// For HTML, in text and in quoted attributes.
fn escaped(text: &str) -> String {
    let mut html = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => html.push_str("&amp;"),
            '<' => html.push_str("&lt;"),
            '>' => html.push_str("&gt;"),
            '"' => html.push_str("&quot;"),
            '\'' => html.push_str("&#39;"),
            c => html.push(c),
        }
    }
    html
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a panic is a failed test")]
    use chrono::TimeDelta;
    use kernel::email::Email;
    use kernel::text::PersonName;
    use proptest::prelude::*;

    use super::*;
    use crate::values::Name;

    const LINK: &str = "https://app.example/accept-invitation#token=abc";

    fn letter(name: &str, clinic: &str, locale: &str) -> Letter {
        Letter {
            to: Email::parse("ana@example.com").unwrap(),
            name: PersonName::parse(name).unwrap(),
            locale: Locale::parse(locale).ok(),
            expires_at: DateTime::UNIX_EPOCH + TimeDelta::days(7),
            matter: Matter::Invitation {
                clinic: Name::parse(clinic).unwrap(),
                inviter: PersonName::parse("Bia Prado").ok(),
                role: Role::Receptionist,
            },
        }
    }

    fn written(letter: &Letter) -> Written {
        write(letter, LINK, DateTime::UNIX_EPOCH)
    }

    #[test]
    fn an_invitation_is_written_in_the_clinics_language() {
        let of = |locale| written(&letter("Ana Lima", "Clínica Ipê", locale));
        let portuguese = of("pt-BR");
        assert_eq!(portuguese.subject, "Convite para Clínica Ipê");
        assert!(portuguese.text.contains("Bia Prado convidou você"));
        assert!(portuguese.text.contains("com o perfil recepção"));
        assert!(portuguese.text.contains("vale por 7 dias"));
        assert!(portuguese.text.lines().any(|line| line == LINK));
        assert!(of("en-US").text.contains("Bia Prado invited you"));
        assert!(of("es-AR").text.contains("Bia Prado le invitó"));
        assert_eq!(of("unknown").subject, portuguese.subject);
    }

    #[test]
    fn a_new_password_is_offered_for_as_long_as_the_link_is_good() {
        let letter = Letter {
            matter: Matter::PasswordReset,
            locale: None,
            expires_at: DateTime::UNIX_EPOCH + TimeDelta::minutes(60),
            ..letter("Ana Lima", "x", "pt-BR")
        };
        let written = written(&letter);
        assert_eq!(written.subject, "Nova senha no Acolhe");
        assert!(written.text.contains("vale por 60 minutos"));
        for (minutes, told) in [
            (-5, "1 minuto"),
            (119, "119 minutos"),
            (120, "2 horas"),
            (2880, "2 dias"),
        ] {
            assert_eq!(duration(Language::Portuguese, minutes), told);
        }
    }

    #[test]
    fn no_name_becomes_markup_or_a_link() {
        let written = written(&letter(
            "<a href='https://evil.example'>Ana</a>",
            "\"Ipê\" & evil.example/x",
            "pt-BR",
        ));
        assert!(!written.html.contains("<a href='"), "{}", written.html);
        assert_eq!(written.html.matches("<a ").count(), 1);
        assert_eq!(
            written.html.matches("href=").count(),
            2,
            "one of them escaped text"
        );
        assert!(!written.text.contains("evil.example"), "{}", written.text);
        assert!(!written.subject.contains("evil.example"));
        assert!(written.html.contains("&quot;Ipê&quot; &amp;"));
    }

    proptest! {
        #[test]
        fn whatever_the_names_the_one_link_is_ours(name in "\\PC{1,60}", clinic in "\\PC{1,60}") {
            let (Ok(name), Ok(clinic)) = (PersonName::parse(&name), Name::parse(&clinic)) else {
                return Ok(());
            };
            let written = written(&letter(name.as_str(), clinic.as_str(), "pt-BR"));
            prop_assert_eq!(written.html.matches("<a ").count(), 1);
            prop_assert_eq!(written.text.matches("://").count(), 1);
            prop_assert_eq!(written.subject.lines().count(), 1);
        }
    }
}
