//! Paths that answer beside the documented ones. Only `/api/v1` is documented; a request for an
//! alias is renamed before it is routed, so that both have the same handler, answer and span.

use std::borrow::Cow;

/// First segments below `/api/v1` that stand for another one.
const SYNONYMS: &[(&str, &str)] = &[("clients", "contacts")];

/// The documented path that `path` stands for, or `None` when it stands for itself.
///
/// `/api/…` without a version is the present version; `clients` is `contacts`.
pub fn canonical(path: &str) -> Option<String> {
    let below = path.strip_prefix("/api/")?;
    let (versioned, rest) = match below.split_once('/') {
        Some(("v1", rest)) => (true, rest),
        _ if is_version(below.split('/').next().unwrap_or_default()) => return None,
        _ => (false, below),
    };
    let (first, tail) = match rest.find('/') {
        Some(at) => rest.split_at(at),
        None => (rest, ""),
    };
    let renamed = SYNONYMS
        .iter()
        .find(|(from, _)| *from == first)
        .map(|(_, to)| Cow::Borrowed(*to));
    if versioned && renamed.is_none() {
        return None;
    }
    let first = renamed.unwrap_or(Cow::Borrowed(first));
    Some(format!("/api/v1/{first}{tail}"))
}

fn is_version(segment: &str) -> bool {
    segment
        .strip_prefix('v')
        .is_some_and(|digits| !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit()))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_unversioned_prefix_is_the_present_version() {
        assert_eq!(
            canonical("/api/contacts").as_deref(),
            Some("/api/v1/contacts")
        );
        assert_eq!(
            canonical("/api/health/live").as_deref(),
            Some("/api/v1/health/live")
        );
    }

    #[test]
    fn clients_are_contacts() {
        assert_eq!(
            canonical("/api/v1/clients").as_deref(),
            Some("/api/v1/contacts")
        );
        assert_eq!(
            canonical("/api/clients/x/y").as_deref(),
            Some("/api/v1/contacts/x/y")
        );
        assert_eq!(canonical("/api/v1/clientsx"), None);
    }

    #[test]
    fn documented_and_foreign_paths_stand_for_themselves() {
        for path in [
            "/api/v1/contacts",
            "/api/v2/contacts",
            "/docs/",
            "/",
            "",
            "/api",
        ] {
            assert_eq!(canonical(path), None, "{path}");
        }
    }

    proptest! {
        #[test]
        fn a_canonical_path_is_final(path in "(/api)?(/v1)?(/[a-z]{0,8}){0,4}/?") {
            if let Some(once) = canonical(&path) {
                prop_assert_eq!(canonical(&once), None);
            }
        }
    }
}
