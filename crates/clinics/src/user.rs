//! Users, what proves them, and their memberships.

use std::fmt;

use kernel::email::Email;
use kernel::text::PersonName;
use kernel::{BranchId, ClinicId, SessionId, UserId};

use crate::clinic::ClinicStatus;
use crate::role::Role;
use crate::values::Name;

/// A person who logs in. Belongs to no clinic.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct User {
    /// Its id.
    pub id: UserId,
    /// What they log in with.
    pub email: Email,
    /// Their name.
    pub name: PersonName,
    /// Whether they may log in.
    pub status: UserStatus,
}

/// Whether a user may log in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum UserStatus {
    /// They may.
    Active,
    /// They may not, and their tokens are refused.
    Disabled,
}

impl UserStatus {
    /// The stable name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Disabled => "disabled",
        }
    }

    /// The status of that name.
    pub fn parse(name: &str) -> Option<Self> {
        [Self::Active, Self::Disabled]
            .into_iter()
            .find(|status| status.name() == name)
    }
}

/// What a password is checked against: a PHC string. Shows nothing in `Debug`.
#[derive(Clone, PartialEq, Eq)]
pub struct PasswordHash(String);

impl PasswordHash {
    /// Wraps a PHC string; whether it is one shows when it is used.
    pub const fn new(phc: String) -> Self {
        Self(phc)
    }

    /// The PHC string.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for PasswordHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PasswordHash(***)")
    }
}

/// A user with what proves them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Credentials {
    /// The user.
    pub user: User,
    /// `None` where no password was ever set: such a user cannot log in by one.
    pub password_hash: Option<PasswordHash>,
}

/// What a user is in one clinic.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Membership {
    /// The clinic.
    pub clinic: ClinicId,
    /// The user.
    pub user: UserId,
    /// What they are there.
    pub role: Role,
    /// Only these branches; `None` is all of them.
    pub branches: Option<Vec<BranchId>>,
    /// Only their own agenda.
    pub own_agenda_only: bool,
    /// Whether it stands.
    pub status: MembershipStatus,
}

/// Whether a membership stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum MembershipStatus {
    /// It does.
    Active,
    /// It was withdrawn.
    Disabled,
}

impl MembershipStatus {
    /// The stable name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Disabled => "disabled",
        }
    }

    /// The status of that name.
    pub fn parse(name: &str) -> Option<Self> {
        [Self::Active, Self::Disabled]
            .into_iter()
            .find(|status| status.name() == name)
    }
}

/// A membership with all that may stand in its way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Standing {
    /// The membership.
    pub membership: Membership,
    /// Whether the user may log in.
    pub user: UserStatus,
    /// Whether the clinic may be used.
    pub clinic: ClinicStatus,
}

impl Standing {
    /// The membership, when nothing stands in its way.
    pub fn in_force(self) -> Option<Membership> {
        let in_force = self.membership.status == MembershipStatus::Active
            && self.user == UserStatus::Active
            && self.clinic == ClinicStatus::Active;
        in_force.then_some(self.membership)
    }
}

/// A clinic as one of its users sees it before choosing it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClinicOfUser {
    /// Its id.
    pub id: ClinicId,
    /// Its name.
    pub name: Name,
    /// What the user is there.
    pub role: Role,
}

/// Who a verified token speaks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Identity {
    /// The user.
    pub user: UserId,
    /// The session that began with their login.
    pub session: SessionId,
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    #[test]
    fn a_hash_is_never_shown() {
        let hash = PasswordHash::new("$argon2id$secret".to_owned());
        assert_eq!(format!("{hash:?}"), "PasswordHash(***)");
    }

    #[test]
    fn a_membership_is_in_force_only_when_all_three_stand() {
        use {ClinicStatus as C, MembershipStatus as M, UserStatus as U};
        let standing = |membership, user, clinic| Standing {
            membership: Membership {
                clinic: Uuid::nil().into(),
                user: Uuid::nil().into(),
                role: Role::Owner,
                branches: None,
                own_agenda_only: false,
                status: membership,
            },
            user,
            clinic,
        };
        assert!(
            standing(M::Active, U::Active, C::Active)
                .in_force()
                .is_some()
        );
        assert!(
            standing(M::Disabled, U::Active, C::Active)
                .in_force()
                .is_none()
        );
        assert!(
            standing(M::Active, U::Disabled, C::Active)
                .in_force()
                .is_none()
        );
        assert!(
            standing(M::Active, U::Active, C::Suspended)
                .in_force()
                .is_none()
        );
    }
}
