//! The mailbox of `cargo xtask dev`: mails that the server writes into a folder, told on the
//! terminal as they come.

use std::{
    collections::HashSet,
    fmt::Write as _,
    fs,
    path::{Path, PathBuf},
    thread,
    time::Duration,
};

/// Between two looks into the folder.
const LOOK: Duration = Duration::from_millis(300);

/// A mail as it is told: to whom, about what, and its link.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Mail {
    pub(crate) to: String,
    pub(crate) subject: String,
    pub(crate) link: Option<String>,
}

impl Mail {
    /// From the file that the server wrote: headers, an empty line, plain text, HTML.
    fn parse(text: &str) -> Option<Self> {
        let (head, body) = text.split_once("\n\n")?;
        let header = |name: &str| {
            let mut values = head.lines().filter_map(|line| line.strip_prefix(name));
            values.next().map(|value| value.trim().to_owned())
        };
        let link = body.lines().find(|line| line.starts_with("http"));
        Some(Self {
            to: header("To:")?,
            subject: header("Subject:")?,
            link: link.map(str::to_owned),
        })
    }
}

/// The mails of a folder that were not told yet.
pub(crate) struct Mailbox {
    folder: PathBuf,
    told: HashSet<PathBuf>,
}

impl Mailbox {
    /// Of that folder, whether or not it is there yet.
    pub(crate) fn new(folder: &Path) -> Self {
        Self {
            folder: folder.to_owned(),
            told: HashSet::new(),
        }
    }

    /// Mails that came since the last look, in the order in which they were written.
    pub(crate) fn look(&mut self) -> Vec<Mail> {
        let mut new: Vec<PathBuf> = fs::read_dir(&self.folder)
            .into_iter()
            .flatten()
            .flatten()
            .map(|entry| entry.path())
            .filter(|path| path.extension().is_some_and(|kind| kind == "eml"))
            .filter(|path| !self.told.contains(path))
            .collect();
        // Their names are ids, and the time leads in those.
        new.sort();
        let mut mails = Vec::new();
        for path in new {
            if let Ok(text) = fs::read_to_string(&path) {
                mails.extend(Mail::parse(&text));
                self.told.insert(path);
            }
        }
        mails
    }

    /// Tells every further mail of the server at `base`, until the program ends.
    pub(crate) fn tell_new(mut self, base: &str) {
        let base = base.to_owned();
        thread::spawn(move || {
            loop {
                for mail in self.look() {
                    println!("\n{}", told(&mail, &base));
                }
                thread::sleep(LOOK);
            }
        });
    }
}

/// As it stands on the terminal: to whom, about what, the link, and what the page behind the link
/// would send.
fn told(mail: &Mail, base: &str) -> String {
    let mut text = format!("Mail to {}: {}", mail.to, mail.subject);
    let Some(link) = &mail.link else { return text };
    text.push_str("\n  ");
    text.push_str(link);
    let route = if link.contains("/accept-invitation#") {
        "auth/invitations/accept"
    } else {
        "auth/password-reset/confirm"
    };
    if let Some((_, token)) = link.split_once("#token=") {
        let _infallible = write!(
            text,
            "\n  curl -sS '{base}/api/v1/{route}' -H 'Content-Type: application/json' \
             -d '{{\"token\":\"{token}\",\"password\":\"caju maduro na feira\"}}'"
        );
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_mail_is_told_once_with_its_link() {
        let folder = tempfile::tempdir().unwrap();
        let mut mailbox = Mailbox::new(&folder.path().join("mail"));
        assert!(mailbox.look().is_empty(), "there is no folder yet");
        let mut mailbox = Mailbox::new(folder.path());
        let text = "From: Acolhe <a@b.example>\nTo: bia@example.com\nSubject: Convite\n\
                    MIME-Version: 1.0\n\n--x\nContent-Type: text/plain\n\nOlá:\n\n\
                    http://localhost:5173/accept-invitation#token=abc\n\n--x\n\
                    <a href=\"http://evil\">\n";
        fs::write(folder.path().join("1.eml"), text).unwrap();
        fs::write(folder.path().join(".2.part"), "half").unwrap();
        let mails = mailbox.look();
        assert_eq!(
            mails,
            [Mail {
                to: "bia@example.com".to_owned(),
                subject: "Convite".to_owned(),
                link: Some("http://localhost:5173/accept-invitation#token=abc".to_owned()),
            }]
        );
        let told = told(&mails[0], "http://127.0.0.1:8080");
        assert!(told.starts_with("Mail to bia@example.com: Convite\n  http://localhost"));
        assert!(told.contains("/api/v1/auth/invitations/accept' "), "{told}");
        assert!(told.contains("{\"token\":\"abc\","), "{told}");
        assert!(mailbox.look().is_empty());
    }
}
