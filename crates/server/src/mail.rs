//! How mails leave: through a mail server, into a folder, or not at all.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use clinics::{LinkBase, Post, PostSettings};
use diesel_postgres::clinics::PgMails;
use kernel::mail::Mailer;
use smtp_mail::{Credentials, FolderMailer, Sender, SmtpMailer, SmtpSettings};

use crate::config::{Config, ConfigError};
use crate::wiring::Foundation;

/// The longest that one mail may take: well within its lease.
const LONGEST: Duration = Duration::from_mins(1);

/// Who delivers mails, and where their links lead.
#[derive(Clone)]
pub struct MailSetup {
    /// Who delivers.
    pub mailer: Arc<dyn Mailer>,
    /// Where links lead.
    pub links: LinkBase,
}

impl MailSetup {
    /// As configured; `None` where no mail is to be sent.
    pub(crate) fn from_config(config: &Config) -> Result<Option<Self>, ConfigError> {
        let mail = &config.mail;
        if mail.smtp_host.is_some() && mail.folder.is_some() {
            let rule = "must not be set beside mail.smtp_host: it is for development alone";
            return Err(ConfigError::refused("mail.folder", &rule));
        }
        if mail.smtp_host.is_none() && mail.folder.is_none() {
            return Ok(None);
        }
        let from = mail.from.as_ref();
        let from = from.ok_or_else(|| ConfigError::missing("mail.from"))?;
        let sender: Sender = from
            .parse()
            .map_err(|rule| ConfigError::refused("mail.from", &rule))?;
        let base = mail.link_base.as_ref();
        let base = base.ok_or_else(|| ConfigError::missing("mail.link_base"))?;
        let links =
            LinkBase::parse(base).map_err(|rule| ConfigError::refused("mail.link_base", &rule))?;
        let mailer: Arc<dyn Mailer> = match &mail.folder {
            Some(folder) => Arc::new(FolderMailer::new(folder.clone(), sender)),
            None => Arc::new(smtp(config, sender)?),
        };
        Ok(Some(Self { mailer, links }))
    }
}

fn smtp(config: &Config, sender: Sender) -> Result<SmtpMailer, ConfigError> {
    let mail = &config.mail;
    let credentials = match (&mail.smtp_user, &mail.smtp_password) {
        (None, None) => None,
        (Some(user), Some(password)) => Some(Credentials {
            user: user.clone(),
            password: password.clone(),
        }),
        (Some(_), None) => return Err(ConfigError::missing("mail.smtp_password")),
        (None, Some(_)) => return Err(ConfigError::missing("mail.smtp_user")),
    };
    let roots = mail.smtp_ca_file.as_ref().map(std::fs::read).transpose();
    let roots = roots.map_err(|_unreadable| {
        ConfigError::refused("mail.smtp_ca_file", &"must be a file that can be read")
    })?;
    if mail.smtp_timeout > LONGEST {
        return Err(ConfigError::refused(
            "mail.smtp_timeout",
            &"must be a minute at most",
        ));
    }
    SmtpMailer::new(SmtpSettings {
        host: mail.smtp_host.clone().unwrap_or_default(),
        port: mail.smtp_port,
        tls: mail.smtp_tls,
        credentials,
        roots,
        timeout: mail.smtp_timeout,
        sender,
    })
    .map_err(|rule| ConfigError::refused("mail.smtp_host", &rule))
}

/// What sends the mails that wait, where mails are sent.
pub fn post(foundation: &Foundation) -> Option<Post> {
    let setup = foundation.mail.clone()?;
    // Mails have the jobs' connections: they never take a request's.
    let queue = Arc::new(PgMails::new(foundation.database.for_jobs()));
    let settings = PostSettings::default();
    Some(Post::new(
        queue,
        setup.mailer,
        setup.links,
        settings,
        foundation.tools(),
    ))
}

impl fmt::Debug for MailSetup {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("MailSetup")
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests may")]

    use super::*;
    use crate::config::{Sources, load};

    fn setup(pairs: &[(&str, &str)]) -> Result<Option<MailSetup>, ConfigError> {
        let environment = pairs
            .iter()
            .map(|(name, value)| (format!("ACOLHE_MAIL_{name}"), (*value).to_owned()))
            .collect();
        let sources = Sources {
            file: None,
            environment,
        };
        MailSetup::from_config(&Config::read(&load(&sources)?)?)
    }

    const HOST: (&str, &str) = ("SMTP_HOST", "smtp.example.com");
    const FROM: (&str, &str) = ("FROM", "Acolhe <no-reply@example.com>");
    const BASE: (&str, &str) = ("LINK_BASE", "https://app.example.com");

    #[test]
    fn mails_are_sent_only_where_all_that_they_need_is_said() {
        assert!(setup(&[]).unwrap().is_none());
        assert!(setup(&[FROM, BASE]).unwrap().is_none());
        assert!(setup(&[HOST, FROM, BASE]).unwrap().is_some());
        assert!(
            setup(&[("FOLDER", "/tmp/mail"), FROM, BASE])
                .unwrap()
                .is_some()
        );
        let password = ("SMTP_PASSWORD", "geheim");
        let (user, none) = (("SMTP_USER", "acolhe"), ("SMTP_TLS", "none"));
        assert!(
            setup(&[HOST, FROM, BASE, user, password])
                .unwrap()
                .is_some()
        );
        for (pairs, named) in [
            (vec![HOST, BASE], "mail.from"),
            (vec![HOST, FROM], "mail.link_base"),
            (vec![HOST, BASE, ("FROM", "nobody")], "mail.from"),
            (
                vec![HOST, FROM, ("LINK_BASE", "http://app.example.com")],
                "mail.link_base",
            ),
            (
                vec![HOST, FROM, BASE, ("FOLDER", "/tmp/mail")],
                "mail.folder",
            ),
            (vec![HOST, FROM, BASE, user], "mail.smtp_password"),
            (vec![HOST, FROM, BASE, password], "mail.smtp_user"),
            (
                vec![HOST, FROM, BASE, user, password, none],
                "mail.smtp_host",
            ),
            (
                vec![HOST, FROM, BASE, ("SMTP_TLS", "maybe")],
                "mail.smtp_tls",
            ),
            (
                vec![HOST, FROM, BASE, ("SMTP_TIMEOUT", "2m")],
                "mail.smtp_timeout",
            ),
            (
                vec![HOST, FROM, BASE, ("SMTP_CA_FILE", "/nowhere")],
                "mail.smtp_ca_file",
            ),
        ] {
            let refused = setup(&pairs).unwrap_err().to_string();
            assert!(refused.contains(named), "{pairs:?}: {refused}");
            assert!(!refused.contains("geheim"));
        }
    }
}
