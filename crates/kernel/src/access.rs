//! What may be done ([`Action`]) and the resolved set of it ([`Permissions`]).
//!
//! Which role may do what is decided in the `clinics` crate; services ask here.

use std::fmt;

macro_rules! actions {
    ($($(#[$doc:meta])* $variant:ident = $name:literal),+ $(,)?) => {
        /// One thing a caller may be allowed to do in a clinic.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[repr(u8)]
        pub enum Action { $($(#[$doc])* $variant),+ }

        impl Action {
            /// Every action, in declaration order.
            pub const ALL: &'static [Self] = &[$(Self::$variant),+];

            /// The stable name, as written in the audit and in the OpenAPI document.
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $name),+ }
            }
        }
    };
}

actions! {
    /// Read the clinic's own settings.
    ClinicRead = "clinic.read",
    /// Change the clinic's settings.
    ClinicUpdate = "clinic.update",
    /// Read branches.
    BranchRead = "branch.read",
    /// Create and change branches.
    BranchManage = "branch.manage",
    /// Read contacts.
    ContactRead = "contact.read",
    /// Create and change contacts.
    ContactWrite = "contact.write",
    /// Archive and restore contacts.
    ContactArchive = "contact.archive",
    /// Define the clinic's own fields of contacts, and the texts by which consent is asked.
    ContactConfigure = "contact.configure",
    /// Read channels (never their secrets).
    ChannelRead = "channel.read",
    /// Create channels, rotate their secrets, disable them.
    ChannelManage = "channel.manage",
    /// Read conversations and their messages.
    ConversationRead = "conversation.read",
    /// Mark conversations read.
    ConversationWrite = "conversation.write",
    /// Read the clinic's users.
    UserRead = "user.read",
    /// Invite users, change what they are and where they work, withdraw their memberships.
    UserManage = "user.manage",
    /// Make and unmake owners, beside `user.manage`.
    UserManageOwners = "user.manage_owners",
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A set of [`Action`]s.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Permissions(u64);

impl Permissions {
    /// Nothing is allowed.
    pub const NONE: Self = Self(0);

    /// The set of these actions.
    pub const fn of(actions: &[Action]) -> Self {
        let mut bits = 0;
        let mut at = 0;
        while at < actions.len() {
            bits |= 1 << actions[at] as u8;
            at += 1;
        }
        Self(bits)
    }

    /// Both sets together.
    #[must_use]
    pub const fn with(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// The set without `action`.
    #[must_use]
    pub const fn without(self, action: Action) -> Self {
        Self(self.0 & !(1 << action as u8))
    }

    /// Whether `action` is in the set.
    pub const fn allows(self, action: Action) -> bool {
        self.0 & (1 << action as u8) != 0
    }

    /// The actions of the set, in declaration order.
    pub fn iter(self) -> impl Iterator<Item = Action> {
        Action::ALL
            .iter()
            .copied()
            .filter(move |action| self.allows(*action))
    }

    /// The bare bits: part of what a scope digest covers.
    pub const fn bits(self) -> u64 {
        self.0
    }
}

impl fmt::Debug for Permissions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set()
            .entries(self.iter().map(Action::name))
            .finish()
    }
}

/// The caller may not do this.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not permitted: {action}")]
pub struct Denied {
    /// What was tried.
    pub action: Action,
}
