//! Paths that answer beside the documented ones. Only `/api/v1` is documented; a request for an
//! alias is renamed before it is routed, so that both have the same handler, answer and span.
//!
//! One alias names its clinic in the path: it stands for the documented path with that clinic in
//! `clinic_id`, so that a header that names another is refused as two clinics always are.

use std::borrow::Cow;

use crate::query::CLINIC_PARAMETER;

/// First segments below `/api/v1` that stand for another one.
const SYNONYMS: &[(&str, &str)] = &[("clients", "contacts")];

/// The documented path and query that these stand for, or `None` when the path stands for itself.
///
/// Beside what [`canonical`] renames: `/api/clinic/{clinicId}/users/management` and what lies below
/// it are `/api/v1/users` of that clinic, with and without the version.
pub fn target(path: &str, query: Option<&str>) -> Option<String> {
    let Some((clinic, below)) = management(path) else {
        let path = canonical(path)?;
        return Some(match query {
            Some(query) => format!("{path}?{query}"),
            None => path,
        });
    };
    // What is no id names no clinic, and must not become a parameter of its own.
    let is_id = clinic
        .bytes()
        .all(|b| b.is_ascii_alphanumeric() || b == b'-');
    let clinic = if is_id { clinic } else { "" };
    let more = query.map_or_else(String::new, |query| format!("&{query}"));
    Some(format!(
        "/api/v1/users{below}?{CLINIC_PARAMETER}={clinic}{more}"
    ))
}

/// The clinic of `/api/clinic/{clinicId}/users/management/…`, and what follows.
fn management(path: &str) -> Option<(&str, &str)> {
    let below = path.strip_prefix("/api/")?;
    let below = below.strip_prefix("v1/").unwrap_or(below);
    let (clinic, rest) = below.strip_prefix("clinic/")?.split_once('/')?;
    let below = rest.strip_prefix("users/management")?;
    (below.is_empty() || below.starts_with('/')).then_some((clinic, below))
}

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

    #[test]
    fn a_clinic_in_the_path_becomes_the_clinic_of_the_request() {
        const CLINIC: &str = "01936f5e-8e2a-7c3b-9d4e-5f6a7b8c9d0e";
        let users = format!("/api/v1/users?clinic_id={CLINIC}");
        for prefix in ["/api", "/api/v1"] {
            let path = format!("{prefix}/clinic/{CLINIC}/users/management");
            assert_eq!(target(&path, None).as_deref(), Some(users.as_str()));
            assert_eq!(
                target(&path, Some("limit=5")),
                Some(format!("{users}&limit=5"))
            );
            assert_eq!(
                target(&format!("{path}/invitations/x/resend"), None),
                Some(format!(
                    "/api/v1/users/invitations/x/resend?clinic_id={CLINIC}"
                ))
            );
            assert_eq!(
                target(&format!("{path}x"), None).as_deref(),
                canonical(&format!("{path}x")).as_deref()
            );
        }
        let smuggled = "/api/clinic/a&limit=1/users/management";
        assert_eq!(
            target(smuggled, None).as_deref(),
            Some("/api/v1/users?clinic_id=")
        );
        assert_eq!(
            target("/api/users", Some("a=b")).as_deref(),
            Some("/api/v1/users?a=b")
        );
        assert_eq!(target("/api/v1/users", Some("a=b")), None);
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
