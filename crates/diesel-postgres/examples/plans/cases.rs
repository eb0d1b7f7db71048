//! What is asked of the crowd.

use chrono::{DateTime, TimeDelta, Utc};
use contacts::search::Search;
use contacts::{ContactFilter, ContactOrder, ContactQuery, ContactStatus, Source, Tag};
use conversations::ConversationStatus;
use conversations::conversation::ConversationFilter;
use kernel::cursor::{Position, SortValue};
use kernel::{ContactId, PageLimit};
use test_support::Crowd;
use test_support::crowd::{RARE_SOURCE, RARE_TAG};
use tokio_postgres::Client;
use uuid::Uuid;

/// A question with the budget of its answer.
pub(crate) struct Case {
    pub(crate) name: String,
    /// The clinic's rank; 0 is the largest.
    pub(crate) clinic: usize,
    pub(crate) ask: Ask,
    pub(crate) budget: Budget,
}

/// What a store is asked.
pub(crate) enum Ask {
    Contacts(ContactQuery),
    /// A page by its number, behind so many rows.
    Numbered(ContactQuery, u16),
    Contact(ContactId),
    Conversations(ConversationFilter, Option<Position>, PageLimit),
}

/// How many rows may be visited.
#[derive(Clone, Copy)]
pub(crate) enum Budget {
    /// So many for each row that is answered, and some.
    PerRow(f64),
    /// So many, however large the clinic.
    AtMost(f64),
}

impl Budget {
    pub(crate) fn visited(self, rows: f64) -> f64 {
        match self {
            Self::PerRow(visits) => 50.0 + visits * rows,
            Self::AtMost(visits) => visits,
        }
    }
}

/// A row in the middle of a clinic's contacts, where a deep page begins.
struct Middle {
    created_at: DateTime<Utc>,
    updated_at: DateTime<Utc>,
    name_key: String,
    id: Uuid,
}

impl Middle {
    async fn of(client: &Client, clinic: usize, column: &str) -> Self {
        let sql = format!(
            "SELECT created_at, updated_at, name_key, id FROM app.contacts WHERE clinic_id = $1
             ORDER BY {column}, id OFFSET
             (SELECT count(*) / 2 FROM app.contacts WHERE clinic_id = $1) LIMIT 1"
        );
        let clinic = Uuid::from(Crowd::clinic(clinic));
        let row = client.query_one(&sql, &[&clinic]).await;
        let row = row.expect("a clinic has contacts");
        Self {
            created_at: row.get(0),
            updated_at: row.get(1),
            name_key: row.get(2),
            id: row.get(3),
        }
    }
}

/// The middles of a clinic, by each column that sorts.
struct Middles([Middle; 3]);

impl Middles {
    async fn of(client: &Client, clinic: usize) -> Self {
        Self([
            Middle::of(client, clinic, "created_at").await,
            Middle::of(client, clinic, "updated_at").await,
            Middle::of(client, clinic, "name_key").await,
        ])
    }

    fn position(&self, order: ContactOrder) -> Position {
        let Self([by_creation, by_update, by_name]) = self;
        let (sort, id) = match order {
            ContactOrder::NewestFirst | ContactOrder::OldestFirst => {
                (SortValue::Instant(by_creation.created_at), by_creation.id)
            }
            ContactOrder::LatestChangeFirst | ContactOrder::EarliestChangeFirst => {
                (SortValue::Instant(by_update.updated_at), by_update.id)
            }
            ContactOrder::ByName | ContactOrder::ByNameDescending => {
                (SortValue::Text(by_name.name_key.clone()), by_name.id)
            }
        };
        let tie = None;
        Position { sort, id, tie }
    }
}

/// Every case.
pub(crate) async fn all(client: &Client, crowd: Crowd) -> Vec<Case> {
    let mut cases = searches(client, 0, "largest").await;
    let small = usize::try_from(crowd.others * 3 / 4).unwrap_or(1);
    cases.extend(searches(client, small, "small").await);
    let middles = Middles::of(client, 0).await;
    for (name, filter, has_index) in filters(&middles) {
        for order in ContactOrder::ALL {
            let by_creation = [ContactOrder::NewestFirst, ContactOrder::OldestFirst];
            let budget = if name == "all" || has_index && by_creation.contains(order) {
                Budget::PerRow(3.0)
            } else {
                // A thousand are counted for each filter, and fetched; or, where a hundredth pass,
                // so many are read on in order until the page is full.
                Budget::AtMost(6_000.0)
            };
            for (page, after) in [("first", None), ("deep", Some(middles.position(*order)))] {
                cases.push(Case {
                    name: format!("list {name} {} {page}", order.name()),
                    clinic: 0,
                    ask: Ask::Contacts(ContactQuery {
                        filter: filter.clone(),
                        order: *order,
                        rows: PageLimit::default().rows_to_fetch(),
                        after,
                        with_notes: false,
                        with_custom_fields: false,
                    }),
                    budget,
                });
            }
            // As many are walked in order as a page may have before it, or a thousand are counted for
            // each filter; and each of them is looked at.
            cases.push(Case {
                name: format!("list {name} {} numbered", order.name()),
                clinic: 0,
                ask: Ask::Numbered(
                    ContactQuery {
                        filter: filter.clone(),
                        order: *order,
                        rows: 100,
                        after: None,
                        with_notes: false,
                        with_custom_fields: false,
                    },
                    500,
                ),
                budget: Budget::AtMost(25_000.0),
            });
        }
    }
    cases.extend(details(client).await);
    cases
}

/// What a search is typed as, and which rows it may visit: no more in a large clinic.
async fn searches(client: &Client, clinic: usize, size: &str) -> Vec<Case> {
    let id = Uuid::from(Crowd::clinic(clinic));
    // A person of whom everything is known, with a rare surname.
    let row = client
        .query_one(
            "SELECT c.primary_phone, k.token, c.primary_email FROM app.contacts c
             JOIN app.contact_tokens k ON k.clinic_id = c.clinic_id AND k.contact_id = c.id
             WHERE c.clinic_id = $1 AND c.document_mac IS NOT NULL AND c.status <> 'archived'
               AND c.primary_email IS NOT NULL AND k.token ~ '^[a-z]{8,}$'
               AND (SELECT count(*) FROM app.contact_tokens o
                    WHERE o.clinic_id = c.clinic_id AND o.token = k.token) <= 3
             ORDER BY c.id LIMIT 1",
            &[&id],
        )
        .await
        .expect("somebody of the clinic has a rare name");
    let (phone, rare, email): (String, String, String) = (row.get(0), row.get(1), row.get(2));
    let typed = [
        ("one common word", "maria".to_owned()),
        ("what everybody has", "example".to_owned()),
        ("one rare word", rare.clone()),
        ("two common words", "maria silva".to_owned()),
        ("a common and a rare word", format!("maria {rare}")),
        ("four common words", "maria silva gmail example".to_owned()),
        ("three letters", "mar".to_owned()),
        (
            "the beginning of a rare word",
            rare.chars().take(6).collect(),
        ),
        ("a whole phone", phone.clone()),
        ("the end of a phone", phone[phone.len() - 8..].to_owned()),
        ("four digits", phone[phone.len() - 4..].to_owned()),
        ("an area code and a part", phone[3..9].to_owned()),
        ("a document", "111.444.777-35".to_owned()),
        (
            "the beginning of an e-mail",
            format!("{}@", email.split('@').next().unwrap_or_default()),
        ),
        ("an e-mail", email),
        ("nobody", "xyzabc".to_owned()),
    ];
    let middles = Middles::of(client, clinic).await;
    let mut cases = Vec::new();
    for (what, text) in typed {
        let search = Search::parse(&text).expect("something to search");
        cases.push(Case {
            name: format!("search {size}: {what} numbered"),
            clinic,
            ask: Ask::Numbered(
                ContactQuery {
                    filter: ContactFilter {
                        search: Some(search.clone()),
                        ..Default::default()
                    },
                    order: ContactOrder::NewestFirst,
                    rows: 20,
                    after: None,
                    with_notes: false,
                    with_custom_fields: false,
                },
                0,
            ),
            budget: Budget::AtMost(2_000.0 * (2 * search.words.len() + 2) as f64),
        });
        for (shape, order, statuses, deep) in [
            ("", ContactOrder::NewestFirst, vec![], false),
            (" by name", ContactOrder::ByName, vec![], false),
            (" deep", ContactOrder::NewestFirst, vec![], true),
            (
                " of leads",
                ContactOrder::NewestFirst,
                vec![ContactStatus::Lead],
                false,
            ),
        ] {
            cases.push(Case {
                name: format!("search {size}: {what}{shape}"),
                clinic,
                ask: Ask::Contacts(ContactQuery {
                    filter: ContactFilter {
                        search: Some(search.clone()),
                        statuses,
                        ..Default::default()
                    },
                    order,
                    rows: PageLimit::default().rows_to_fetch(),
                    after: deep.then(|| middles.position(order)),
                    with_notes: false,
                    with_custom_fields: false,
                }),
                // Each word is counted; then the rarest one's contacts are listed, held against the
                // other words, and fetched; or as many are walked past, held against each word.
                budget: Budget::AtMost(2_000.0 * (2 * search.words.len() + 1) as f64),
            });
        }
    }
    cases
}

/// Filters, and whether one index has them and the order of creation.
fn filters(middles: &Middles) -> Vec<(&'static str, ContactFilter, bool)> {
    let none = ContactFilter::default;
    let tag = |text| Some(Tag::new(text).expect("a tag"));
    let source = |text| Some(Source::new(text).expect("a source"));
    let statuses = |of: &[ContactStatus]| of.to_vec();
    let at = middles.position(ContactOrder::NewestFirst).sort;
    let middle = match at {
        SortValue::Instant(at) => at,
        SortValue::Text(_) => DateTime::default(),
    };
    vec![
        ("all", none(), true),
        (
            "status lead",
            ContactFilter {
                statuses: statuses(&[ContactStatus::Lead]),
                ..none()
            },
            true,
        ),
        (
            "status archived",
            ContactFilter {
                statuses: statuses(&[ContactStatus::Archived]),
                ..none()
            },
            true,
        ),
        (
            "two statuses",
            ContactFilter {
                statuses: statuses(&[ContactStatus::Lead, ContactStatus::Inactive]),
                ..none()
            },
            false,
        ),
        (
            "tag common",
            ContactFilter {
                tag: tag("convênio"),
                ..none()
            },
            false,
        ),
        (
            "tag less common",
            ContactFilter {
                tag: tag("idoso"),
                ..none()
            },
            false,
        ),
        (
            "tag rare",
            ContactFilter {
                tag: tag(RARE_TAG),
                ..none()
            },
            false,
        ),
        (
            "tag absent",
            ContactFilter {
                tag: tag("nowhere"),
                ..none()
            },
            false,
        ),
        (
            "owner of many",
            ContactFilter {
                owner: Some(Crowd::user(0, 1)),
                ..none()
            },
            true,
        ),
        (
            "owner of few",
            ContactFilter {
                owner: Some(Crowd::user(0, 5)),
                ..none()
            },
            true,
        ),
        (
            "source common",
            ContactFilter {
                source: source("manual"),
                ..none()
            },
            true,
        ),
        (
            "source rare",
            ContactFilter {
                source: source(RARE_SOURCE),
                ..none()
            },
            true,
        ),
        (
            "created in a day",
            ContactFilter {
                created_from: Some(middle),
                created_before: Some(middle + TimeDelta::days(1)),
                ..none()
            },
            true,
        ),
        (
            "created in a year",
            ContactFilter {
                created_from: Some(middle - TimeDelta::days(180)),
                created_before: Some(middle + TimeDelta::days(180)),
                ..none()
            },
            true,
        ),
        (
            "tag of an owner",
            ContactFilter {
                tag: tag("retorno"),
                owner: Some(Crowd::user(0, 2)),
                ..none()
            },
            false,
        ),
    ]
}

/// One contact, and the inbox.
async fn details(client: &Client) -> Vec<Case> {
    let row = client
        .query_one(
            "SELECT id, last_message_at, contact_id FROM app.conversations WHERE clinic_id = $1
             ORDER BY last_message_at, id OFFSET
             (SELECT count(*) / 2 FROM app.conversations WHERE clinic_id = $1) LIMIT 1",
            &[&Uuid::from(Crowd::clinic(0))],
        )
        .await
        .expect("the largest clinic has conversations");
    let (id, at, contact): (Uuid, DateTime<Utc>, Uuid) = (row.get(0), row.get(1), row.get(2));
    let none = ConversationFilter::default;
    let inbox = [
        ("all", none()),
        (
            "open",
            ConversationFilter {
                status: Some(ConversationStatus::Open),
                ..none()
            },
        ),
        (
            "unread",
            ConversationFilter {
                unread: Some(true),
                ..none()
            },
        ),
        (
            "read",
            ConversationFilter {
                unread: Some(false),
                ..none()
            },
        ),
        (
            "of a contact",
            ConversationFilter {
                contact: Some(contact.into()),
                ..none()
            },
        ),
        (
            "of a channel",
            ConversationFilter {
                channel: Some(Crowd::channel(0).into()),
                ..none()
            },
        ),
        (
            "open and unread",
            ConversationFilter {
                status: Some(ConversationStatus::Open),
                unread: Some(true),
                ..none()
            },
        ),
    ];
    let mut cases = vec![Case {
        name: "contact".to_owned(),
        clinic: 0,
        ask: Ask::Contact(contact.into()),
        budget: Budget::PerRow(4.0),
    }];
    for (name, filter) in inbox {
        let middle = Position {
            sort: SortValue::Instant(at),
            id,
            tie: None,
        };
        for (page, after) in [("first", None), ("deep", Some(middle))] {
            cases.push(Case {
                name: format!("inbox {name} {page}"),
                clinic: 0,
                ask: Ask::Conversations(filter, after, PageLimit::default()),
                // A clinic of few conversations may be read whole; and of what is unread, which is
                // little, what is open is picked out.
                budget: Budget::AtMost(600.0),
            });
        }
    }
    cases
}
