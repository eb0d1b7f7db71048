//! What a list of contacts can be asked for.

use chrono::{DateTime, Utc};
use kernel::cursor::{Position, SortValue};
use kernel::{PageLimit, TypedId as _, UserId};

use crate::contact::{ContactStatus, ContactSummary, Source, Tag};
use crate::search::Search;

/// The order of a list. Ties are broken by id, in the same direction.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ContactOrder {
    /// Newest first.
    #[default]
    NewestFirst,
    /// Oldest first.
    OldestFirst,
    /// Changed last first.
    LatestChangeFirst,
    /// Changed longest ago first.
    EarliestChangeFirst,
    /// By folded name.
    ByName,
    /// By folded name, backwards.
    ByNameDescending,
}

impl ContactOrder {
    /// Every order.
    pub const ALL: &'static [Self] = &[
        Self::NewestFirst,
        Self::OldestFirst,
        Self::LatestChangeFirst,
        Self::EarliestChangeFirst,
        Self::ByName,
        Self::ByNameDescending,
    ];

    /// Its name in the API: a field, with `-` before it when descending.
    pub const fn name(self) -> &'static str {
        match self {
            Self::NewestFirst => "-createdAt",
            Self::OldestFirst => "createdAt",
            Self::LatestChangeFirst => "-updatedAt",
            Self::EarliestChangeFirst => "updatedAt",
            Self::ByName => "name",
            Self::ByNameDescending => "-name",
        }
    }

    /// The order of that name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|order| order.name() == name)
    }

    /// Where in the order a contact stands.
    pub fn position(self, row: &ContactSummary) -> Position {
        let sort = match self {
            Self::NewestFirst | Self::OldestFirst => SortValue::Instant(row.created_at),
            Self::LatestChangeFirst | Self::EarliestChangeFirst => {
                SortValue::Instant(row.updated_at)
            }
            Self::ByName | Self::ByNameDescending => SortValue::Text(row.name_key.expose().clone()),
        };
        Position {
            sort,
            id: row.id.as_uuid(),
            tie: None,
        }
    }
}

/// Which contacts. Every part that is given must hold.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct ContactFilter {
    /// One of these; empty is every status but `archived`.
    pub statuses: Vec<ContactStatus>,
    /// Has this tag.
    pub tag: Option<Tag>,
    /// Is looked after by this user.
    pub owner: Option<UserId>,
    /// Came from here.
    pub source: Option<Source>,
    /// Created at this instant or later.
    pub created_from: Option<DateTime<Utc>>,
    /// Created before this instant.
    pub created_before: Option<DateTime<Utc>>,
    /// Matches this search.
    pub search: Option<Search>,
}

impl ContactFilter {
    /// The filter's canonical bytes, for binding a cursor to it.
    pub fn canonical(&self) -> Vec<u8> {
        let mut statuses: Vec<_> = self.statuses.iter().map(|status| status.name()).collect();
        statuses.sort_unstable();
        statuses.dedup();
        let instant = |at: Option<DateTime<Utc>>| at.map(|at| at.timestamp_micros().to_string());
        let parts = [
            Some(statuses.join(",")),
            self.tag.as_ref().map(|tag| tag.as_str().to_owned()),
            self.owner.map(|owner| owner.to_string()),
            self.source
                .as_ref()
                .map(|source| source.as_str().to_owned()),
            instant(self.created_from),
            instant(self.created_before),
            self.search.as_ref().map(Search::canonical),
        ];
        let mut bytes = Vec::new();
        for part in parts {
            // Absent and empty are not the same filter.
            match part {
                None => bytes.extend_from_slice(&u64::MAX.to_be_bytes()),
                Some(part) => {
                    bytes.extend_from_slice(&(part.len() as u64).to_be_bytes());
                    bytes.extend_from_slice(part.as_bytes());
                }
            }
        }
        bytes
    }
}

/// A page of contacts, as a caller asks for it.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct ListContacts {
    /// Which.
    pub filter: ContactFilter,
    /// In which order.
    pub order: ContactOrder,
    /// How many.
    pub limit: PageLimit,
    /// After this cursor.
    pub cursor: Option<String>,
    /// Whether rows carry their notes.
    pub with_notes: bool,
    /// Whether rows carry the values of the clinic's own fields.
    pub with_custom_fields: bool,
}

/// A page of contacts, as the store is asked for it.
#[derive(Debug, Clone, PartialEq)]
pub struct ContactQuery {
    /// Which.
    pub filter: ContactFilter,
    /// In which order.
    pub order: ContactOrder,
    /// How many rows to fetch: one more than is answered.
    pub rows: i64,
    /// After this position.
    pub after: Option<Position>,
    /// Whether rows carry their notes.
    pub with_notes: bool,
    /// Whether rows carry the values of the clinic's own fields.
    pub with_custom_fields: bool,
}

/// What the store has of a [`ContactQuery`].
#[derive(Debug, Clone, PartialEq, Default)]
pub struct ContactRows {
    /// Contacts in the asked order, at most as many as were asked for.
    pub rows: Vec<ContactSummary>,
    /// Where the store stopped looking before it had as many, for a search that few of many
    /// contacts match: whoever comes after it was not looked at.
    pub stopped_at: Option<Position>,
}
