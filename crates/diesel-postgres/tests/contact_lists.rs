//! Lists of contacts hold what their filter says, in order, whichever way the rows are come by.
#![allow(clippy::unwrap_used, reason = "a test may fail by panicking")]

use contacts::ports::ContactStore as _;
use contacts::search::Search;
use contacts::{ContactFilter, ContactOrder, ContactQuery, ContactStatus, Source, Tag};
use diesel_postgres::contacts::PgContactStore;
use kernel::TenantContext;
use kernel::text::{fold, tokens};
use test_support::crowd::{Crowd, Dice, Person, Rows};
use test_support::{TestDatabase, two_clinics};
use uuid::Uuid;

/// More than are gathered for a filter, so that the common ones are read in order.
const PEOPLE: u64 = 2_500;

fn passes(filter: &ContactFilter, person: &Person) -> bool {
    let contact = &person.contact;
    let status = if person.is_archived {
        ContactStatus::Archived
    } else {
        contact.status
    };
    let of_status = match filter.statuses.as_slice() {
        [] => status != ContactStatus::Archived,
        statuses => statuses.contains(&status),
    };
    let names = [Some(&contact.name), contact.social_name.as_ref()];
    let words: Vec<String> = names
        .into_iter()
        .flatten()
        .flat_map(|name| tokens(name.as_str()))
        .collect();
    of_status
        && filter
            .tag
            .as_ref()
            .is_none_or(|tag| contact.tags.iter().any(|own| own == tag))
        && filter
            .owner
            .is_none_or(|owner| contact.owner == Some(owner))
        && filter
            .source
            .as_ref()
            .is_none_or(|source| contact.source == *source)
        && filter.created_from.is_none_or(|from| contact.at >= from)
        && filter
            .created_before
            .is_none_or(|before| contact.at < before)
        && filter.search.as_ref().is_none_or(|search| {
            let has = |word: &String| words.iter().any(|own| own.starts_with(word.as_str()));
            search.words.iter().all(has)
        })
}

fn expected(people: &[Person], filter: &ContactFilter, order: ContactOrder) -> Vec<Uuid> {
    let mut found: Vec<&Person> = people.iter().filter(|p| passes(filter, p)).collect();
    let id = |p: &&Person| Uuid::from(p.contact.id);
    match order {
        ContactOrder::NewestFirst | ContactOrder::OldestFirst => {
            found.sort_by_key(|p| (p.contact.at, id(p)));
        }
        ContactOrder::LatestChangeFirst | ContactOrder::EarliestChangeFirst => {
            found.sort_by_key(|p| (p.updated_at, id(p)));
        }
        ContactOrder::ByName | ContactOrder::ByNameDescending => {
            found.sort_by_key(|p| (fold(p.contact.name.as_str()), id(p)));
        }
    }
    let backwards = [
        ContactOrder::NewestFirst,
        ContactOrder::LatestChangeFirst,
        ContactOrder::ByNameDescending,
    ];
    if backwards.contains(&order) {
        found.reverse();
    }
    found.iter().map(id).collect()
}

fn filters(people: &[Person]) -> Vec<ContactFilter> {
    let none = ContactFilter::default;
    let tag = |text| Some(Tag::new(text).unwrap());
    let middle = people[people.len() / 2].contact.at;
    let mut filters = vec![none()];
    for text in ["convênio", "idoso", "nobody's"] {
        filters.push(ContactFilter {
            tag: tag(text),
            ..none()
        });
    }
    for text in ["manual", "site", "nowhere"] {
        let source = Some(Source::new(text).unwrap());
        filters.push(ContactFilter { source, ..none() });
    }
    for number in [0, 4, 5] {
        let owner = Some(Crowd::user(0, number));
        filters.push(ContactFilter { owner, ..none() });
    }
    for statuses in [
        vec![ContactStatus::Active],
        vec![ContactStatus::Archived],
        vec![ContactStatus::Lead, ContactStatus::Inactive],
        vec![ContactStatus::Active, ContactStatus::Lead],
    ] {
        filters.push(ContactFilter { statuses, ..none() });
    }
    filters.push(ContactFilter {
        created_from: Some(middle),
        ..none()
    });
    filters.push(ContactFilter {
        created_from: Some(middle),
        created_before: Some(people[people.len() / 2 + 40].contact.at),
        ..none()
    });
    filters.push(ContactFilter {
        tag: tag("retorno"),
        owner: Some(Crowd::user(0, 1)),
        source: Some(Source::new("manual").unwrap()),
        statuses: vec![ContactStatus::Active],
        created_before: Some(middle),
        ..none()
    });
    for text in ["maria", "maria silva", "mar sil", "jos oliv", "quiteria"] {
        let search = Some(Search::parse(text).unwrap());
        filters.push(ContactFilter { search, ..none() });
    }
    filters
}

/// Pages by their number hold the same, and tell how many there are.
async fn numbered(
    store: &PgContactStore,
    cx: &TenantContext,
    filter: &ContactFilter,
    order: ContactOrder,
    expected: &[Uuid],
) {
    for skipped in [0, 40, 2_460] {
        let query = ContactQuery {
            filter: filter.clone(),
            order,
            rows: 20,
            after: None,
            with_notes: false,
            with_custom_fields: false,
        };
        let page = store.list_numbered(cx, &query, skipped).await.unwrap();
        let found: Vec<Uuid> = page.items.iter().map(|row| row.id.into()).collect();
        let from = usize::from(skipped).min(expected.len());
        let to = (from + 20).min(expected.len());
        if page.is_exact {
            assert_eq!(page.total, expected.len() as u64, "{order:?} {filter:?}");
            assert_eq!(found, expected[from..to], "{order:?} {filter:?}");
        } else {
            // Words that are each common: the walk has ended before the list.
            assert!(filter.search.is_some(), "{order:?} {filter:?}");
            assert!(page.total <= expected.len() as u64);
            assert_eq!(found, expected[from..from + found.len()]);
        }
    }
}

#[tokio::test]
async fn pages_of_every_filter_and_order_hold_just_what_passes() {
    let base = TestDatabase::new().await;
    let clinics = two_clinics(&base).await;
    let mut dice = Dice::new(11);
    let people: Vec<Person> = (0..PEOPLE)
        .map(|number| Person::make(&mut dice, number, PEOPLE, 0))
        .collect();
    let mut rows = Rows::default();
    for person in &people {
        rows.contact(
            clinics.a.id,
            &person.written(),
            test_support::keys().as_ref(),
        );
    }
    let behind = base.superuser().await;
    behind
        .batch_execute("SET session_replication_role = replica")
        .await
        .unwrap();
    rows.copy(&behind).await;
    let store = PgContactStore::new(base.database(), test_support::keys());
    for filter in filters(&people) {
        for order in ContactOrder::ALL {
            let expected = expected(&people, &filter, *order);
            let mut found: Vec<Uuid> = Vec::new();
            let mut after = None;
            // Some pages: enough to begin anew from a cursor.
            while found.len() < 250 {
                let query = ContactQuery {
                    filter: filter.clone(),
                    order: *order,
                    rows: 101,
                    after: after.take(),
                    with_notes: false,
                    with_custom_fields: false,
                };
                let answer = store.list(&clinics.a.cx, &query).await.unwrap();
                let page = answer.rows;
                found.extend(page.iter().map(|row| Uuid::from(row.id)));
                after = match page.last() {
                    Some(last) if page.len() == 101 => Some(order.position(last)),
                    _ => answer.stopped_at,
                };
                if after.is_none() {
                    assert_eq!(found.len(), expected.len(), "{order:?} {filter:?}");
                    break;
                }
            }
            let seen = found.len().min(expected.len());
            assert_eq!(found, expected[..seen], "{order:?} {filter:?}");
            numbered(&store, &clinics.a.cx, &filter, *order, &expected).await;
        }
    }
    // Nothing of it is another clinic's.
    let query = ContactQuery {
        filter: ContactFilter::default(),
        order: ContactOrder::ByName,
        rows: 101,
        after: None,
        with_notes: false,
        with_custom_fields: false,
    };
    let other = store.list(&clinics.b.cx, &query).await.unwrap();
    assert!(other.rows.is_empty());
    let other = store.list_numbered(&clinics.b.cx, &query, 0).await.unwrap();
    assert_eq!((other.items.len(), other.total), (0, 0));
}
