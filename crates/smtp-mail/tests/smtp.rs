//! The SMTP adapter against a mail server in this process: what it takes over, what it refuses,
//! and what never travels in the open.

#![allow(clippy::unwrap_used, reason = "tests may")]

mod stand_in;

use std::time::{Duration, Instant};

use kernel::Sensitive;
use kernel::email::Email;
use kernel::mail::{Mail, MailError, Mailer as _};
use smtp_mail::{Credentials, SmtpError, SmtpMailer, SmtpSettings, Tls};
use stand_in::{Manners, ROOT, StandIn};
use uuid::Uuid;

fn mail() -> Mail {
    Mail {
        id: Uuid::from_u128(7),
        to: Email::parse("ana@example.com").unwrap(),
        subject: "Convite da Clínica Ipê".to_owned(),
        text: "Olá\n.\nhttps://app.example/accept-invitation#token=abc\n".to_owned(),
        html: "<p>Olá</p>".to_owned(),
    }
}

fn settings(server: &StandIn, tls: Tls) -> SmtpSettings {
    SmtpSettings {
        host: "localhost".to_owned(),
        port: Some(server.port),
        tls,
        credentials: None,
        roots: Some(ROOT.to_vec()),
        timeout: Duration::from_secs(5),
        sender: "Acolhe <no-reply@clinic.example>".parse().unwrap(),
    }
}

fn with_login(settings: SmtpSettings, password: &str) -> SmtpSettings {
    SmtpSettings {
        credentials: Some(Credentials {
            user: "acolhe".to_owned(),
            password: Sensitive::new(password.to_owned()),
        }),
        ..settings
    }
}

async fn sent(settings: SmtpSettings) -> Result<(), MailError> {
    SmtpMailer::new(settings).unwrap().send(&mail()).await
}

#[tokio::test]
async fn a_mail_arrives_whole_over_starttls_after_a_login() {
    let server = StandIn::start(Manners {
        starttls: true,
        demands_tls: true,
        login: Some(("acolhe", "geheim")),
        ..Manners::default()
    })
    .await;
    let login = with_login(settings(&server, Tls::StartTls), "geheim");
    assert_eq!(sent(login).await, Ok(()));
    let received = server.received();
    let [one] = received.as_slice() else {
        panic!("{received:?}")
    };
    assert!(one.encrypted && one.logged_in);
    assert_eq!(one.from, "no-reply@clinic.example");
    assert_eq!(one.to, ["ana@example.com"]);
    assert!(
        one.message
            .contains("Message-ID: <00000000-0000-0000-0000-000000000007@")
    );
    let open = server.said_in_the_open();
    assert!(
        open.iter()
            .all(|line| line.starts_with("EHLO") || line == "STARTTLS"),
        "{open:?}"
    );
}

#[tokio::test]
async fn a_mail_arrives_over_implicit_tls_and_in_the_open_where_that_is_asked() {
    let server = StandIn::start(Manners {
        implicit_tls: true,
        ..Manners::default()
    })
    .await;
    assert_eq!(sent(settings(&server, Tls::Implicit)).await, Ok(()));
    assert!(server.received()[0].encrypted);

    let server = StandIn::start(Manners::default()).await;
    assert_eq!(sent(settings(&server, Tls::None)).await, Ok(()));
    assert!(!server.received()[0].encrypted);
}

#[tokio::test]
async fn a_server_without_starttls_gets_nothing_when_it_is_demanded() {
    let server = StandIn::start(Manners {
        login: Some(("acolhe", "geheim")),
        ..Manners::default()
    })
    .await;
    let login = with_login(settings(&server, Tls::StartTls), "geheim");
    assert_eq!(sent(login).await, Err(MailError::Later("not-offered")));
    let open = server.said_in_the_open();
    assert!(
        open.iter()
            .all(|line| line.starts_with("EHLO") || line == "QUIT"),
        "{open:?}"
    );
}

#[tokio::test]
async fn a_certificate_that_nobody_known_has_signed_is_not_believed() {
    for (manners, tls) in [
        (
            Manners {
                starttls: true,
                ..Manners::default()
            },
            Tls::StartTls,
        ),
        (
            Manners {
                implicit_tls: true,
                ..Manners::default()
            },
            Tls::Implicit,
        ),
    ] {
        let server = StandIn::start(manners).await;
        let strange = SmtpSettings {
            roots: None,
            ..settings(&server, tls)
        };
        let refused = sent(strange).await.unwrap_err();
        assert!(matches!(refused, MailError::Later(_)), "{refused:?}");
        assert!(server.received().is_empty());
        // Right authority, wrong name.
        let other = SmtpSettings {
            host: "127.0.0.1".to_owned(),
            ..settings(&server, tls)
        };
        assert!(sent(other).await.is_err());
        assert!(server.received().is_empty());
    }
}

#[tokio::test]
async fn refusals_of_the_message_are_final_and_all_others_are_not() {
    let (refused, later) = (MailError::Refused("refused"), MailError::Later("deferred"));
    for (to_recipient, to_message, expected) in [
        (Some("550 no such user ana@example.com"), None, refused),
        (Some("450 greylisted"), None, later),
        (None, Some("554 spam"), refused),
        (None, Some("451 try later"), later),
        (None, Some("452 mailbox full"), later),
    ] {
        let server = StandIn::start(Manners {
            to_recipient,
            to_message,
            ..Manners::default()
        })
        .await;
        let error = sent(settings(&server, Tls::None)).await.unwrap_err();
        assert_eq!(error, expected, "{to_recipient:?} {to_message:?}");
        assert!(
            !error.to_string().contains("ana@"),
            "no word of the server's"
        );
        assert!(server.received().is_empty());
    }
}

#[tokio::test]
async fn a_wrong_password_and_a_missing_one_are_the_operators_to_mend() {
    let manners = Manners {
        login: Some(("acolhe", "geheim")),
        ..Manners::default()
    };
    let expected = Err(MailError::Later("not-authenticated"));
    let server = StandIn::start(manners).await;
    let wrong = with_login(settings(&server, Tls::None), "falsch");
    assert_eq!(sent(wrong).await, expected);
    assert_eq!(sent(settings(&server, Tls::None)).await, expected);
    let demanding = StandIn::start(Manners {
        demands_tls: true,
        starttls: true,
        ..Manners::default()
    })
    .await;
    assert_eq!(sent(settings(&demanding, Tls::None)).await, expected);
    assert!(demanding.received().is_empty());
}

#[tokio::test]
async fn a_server_that_falls_silent_is_left_in_time() {
    for silent_at in ["EHLO", "MAIL", "DATA", "END"] {
        let server = StandIn::start(Manners {
            silent_at: Some(silent_at),
            ..Manners::default()
        })
        .await;
        let hurried = SmtpSettings {
            timeout: Duration::from_millis(200),
            ..settings(&server, Tls::None)
        };
        let began = Instant::now();
        assert_eq!(
            sent(hurried).await,
            Err(MailError::Later("timeout")),
            "{silent_at}"
        );
        assert!(began.elapsed() < Duration::from_secs(5), "{silent_at}");
    }
}

#[tokio::test]
async fn a_server_that_is_not_there_is_tried_again() {
    let server = StandIn::start(Manners::default()).await;
    let nobody = std::net::TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let port = nobody.local_addr().unwrap().port();
    drop(nobody);
    let gone = SmtpSettings {
        port: Some(port),
        ..settings(&server, Tls::None)
    };
    assert_eq!(sent(gone).await, Err(MailError::Later("unreachable")));
}

#[tokio::test]
async fn no_password_travels_in_the_open_to_another_machine() {
    let server = StandIn::start(Manners::default()).await;
    let open = SmtpSettings {
        host: "mail.example".to_owned(),
        ..with_login(settings(&server, Tls::None), "geheim")
    };
    assert_eq!(SmtpMailer::new(open).unwrap_err(), SmtpError::OpenPassword);
    let garbage = SmtpSettings {
        roots: Some(b"-----BEGIN CERTIFICATE-----\n@@@\n-----END CERTIFICATE-----\n".to_vec()),
        ..settings(&server, Tls::StartTls)
    };
    assert_eq!(SmtpMailer::new(garbage).unwrap_err(), SmtpError::Roots);
}
