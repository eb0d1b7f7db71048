//! Roles, and the one table of what each may do.

use std::fmt;

use kernel::{Action, Permissions};

/// What a member is in a clinic.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Role {
    /// Answers for the clinic.
    Owner,
    /// Runs it from day to day.
    Admin,
    /// Treats patients.
    Professional,
    /// The front desk.
    Receptionist,
    /// The money.
    Finance,
    /// Looks on.
    Readonly,
}

/// Not the name of a role.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("is not a role")]
pub struct InvalidRole;

impl Role {
    /// Every role, from the one that may do most.
    pub const ALL: &'static [Self] = &[
        Self::Owner,
        Self::Admin,
        Self::Professional,
        Self::Receptionist,
        Self::Finance,
        Self::Readonly,
    ];

    /// The stable name, as in the API, the database and the audit.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Owner => "owner",
            Self::Admin => "admin",
            Self::Professional => "professional",
            Self::Receptionist => "receptionist",
            Self::Finance => "finance",
            Self::Readonly => "readonly",
        }
    }

    /// The role of that name.
    pub fn parse(name: &str) -> Result<Self, InvalidRole> {
        Self::ALL
            .iter()
            .copied()
            .find(|role| role.name() == name)
            .ok_or(InvalidRole)
    }

    /// What the role may do.
    pub const fn permissions(self) -> Permissions {
        use Action as A;
        const LOOK_AROUND: Permissions = Permissions::of(&[A::ClinicRead, A::BranchRead]);
        const ANSWER_PATIENTS: Permissions = Permissions::of(&[
            A::ContactRead,
            A::ContactWrite,
            A::ChannelRead,
            A::ConversationRead,
            A::ConversationWrite,
            // Whom a contact or a conversation is given to.
            A::UserRead,
        ]);
        match self {
            // Every action there is, also those that are added later.
            Self::Owner => Permissions::of(A::ALL),
            // All but what makes and unmakes those who answer for the clinic.
            Self::Admin => Permissions::of(A::ALL).without(A::UserManageOwners),
            Self::Professional => LOOK_AROUND.with(ANSWER_PATIENTS),
            Self::Receptionist => LOOK_AROUND
                .with(ANSWER_PATIENTS)
                .with(Permissions::of(&[A::ContactArchive])),
            Self::Finance => LOOK_AROUND.with(Permissions::of(&[A::ContactRead])),
            Self::Readonly => LOOK_AROUND.with(Permissions::of(&[
                A::ContactRead,
                A::ChannelRead,
                A::ConversationRead,
            ])),
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a panic is a failed test")]
    use std::fmt::Write as _;

    use super::*;

    /// Changing this table changes who may do what: it is reviewed as such.
    const TABLE: &str = "
action             own adm pro rec fin ro
clinic.read         x   x   x   x   x   x
clinic.update       x   x
branch.read         x   x   x   x   x   x
branch.manage       x   x
contact.read        x   x   x   x   x   x
contact.write       x   x   x   x
contact.archive     x   x       x
contact.configure   x   x
channel.read        x   x   x   x       x
channel.manage      x   x
conversation.read   x   x   x   x       x
conversation.write  x   x   x   x
user.read           x   x   x   x
user.manage         x   x
user.manage_owners  x
";

    #[test]
    fn the_roles_may_do_what_the_reviewed_table_says() {
        let mut table = String::from("\naction             own adm pro rec fin ro\n");
        for action in Action::ALL {
            let mut line = format!("{:<19}", action.name());
            for role in Role::ALL {
                let mark = if role.permissions().allows(*action) {
                    'x'
                } else {
                    ' '
                };
                write!(line, " {mark}  ").unwrap();
            }
            table.push_str(line.trim_end());
            table.push('\n');
        }
        assert_eq!(table, TABLE, "the table is now:\n{table}");
    }

    #[test]
    fn a_role_is_found_by_its_name_alone() {
        for role in Role::ALL {
            assert_eq!(Role::parse(role.name()), Ok(*role));
        }
        assert_eq!(Role::parse("Owner"), Err(InvalidRole));
        assert_eq!(Role::parse(""), Err(InvalidRole));
    }
}
