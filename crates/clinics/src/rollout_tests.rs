//! For which clinics a flag is on.

#![allow(clippy::unwrap_used, reason = "tests may")]

use std::sync::Mutex;

use async_trait::async_trait;
use kernel::{AuditTrail, Clock, Keys, Permissions, Random, UserId};
use proptest::prelude::*;
use uuid::Uuid;

use super::*;

/// A store of one state.
struct Kept(Mutex<Rollout>);

#[async_trait]
impl RolloutStore for Kept {
    async fn read(&self, _: &SystemContext, known: i64) -> Result<Option<Rollout>, StoreError> {
        let present = self.0.lock().unwrap().clone();
        Ok((present.revision != known).then_some(present))
    }
    async fn set_flag(
        &self,
        _: &SystemContext,
        _: Flag,
        _: Option<Percentage>,
        _: &RolloutChange,
    ) -> Result<(), StoreError> {
        unreachable!("nothing is set here")
    }
    async fn set_clinic_flag(
        &self,
        _: &TenantContext,
        _: Flag,
        _: Option<bool>,
        _: &RolloutChange,
        _: AuditEntry,
    ) -> Result<(), RolloutError> {
        unreachable!("nothing is set here")
    }
    async fn set_plan(
        &self,
        _: &TenantContext,
        _: Option<u32>,
        _: &RolloutChange,
        _: AuditEntry,
    ) -> Result<(), RolloutError> {
        unreachable!("nothing is set here")
    }
}

struct Fixed;

impl Clock for Fixed {
    fn now(&self) -> DateTime<Utc> {
        DateTime::from_timestamp_micros(1_790_000_000_000_000).unwrap()
    }
}

#[async_trait]
impl AuditTrail for Fixed {
    async fn record_denied(&self, _: &TenantContext, _: AuditEntry) -> Result<(), StoreError> {
        Ok(())
    }
}

impl Random for Fixed {
    fn fill(&self, bytes: &mut [u8]) {
        bytes.fill(7);
    }
}

impl Keys for Fixed {
    fn seal(&self, _: KeyOwner, _: KeyPurpose, _: &[u8], plain: &[u8]) -> Vec<u8> {
        plain.to_vec()
    }
    fn open(
        &self,
        _: KeyOwner,
        _: KeyPurpose,
        _: &[u8],
        sealed: &[u8],
    ) -> Result<Vec<u8>, kernel::ports::CannotOpen> {
        Ok(sealed.to_vec())
    }
    fn is_current(&self, _: &[u8]) -> bool {
        true
    }
    fn mac(&self, owner: KeyOwner, purpose: KeyPurpose, data: &[u8]) -> [u8; 32] {
        use std::hash::{DefaultHasher, Hash as _, Hasher as _};
        let mut hasher = DefaultHasher::new();
        (owner, purpose, data).hash(&mut hasher);
        let mut mac = [0; 32];
        mac[..8].copy_from_slice(&hasher.finish().to_be_bytes());
        mac
    }
}

fn flags(rollout: Rollout) -> Flags {
    let fixed = Arc::new(Fixed);
    let tools = Toolkit::new(fixed.clone(), fixed.clone(), fixed);
    let gate = Gate::new(Arc::new(Fixed), tools.clone());
    let flags = Flags::new(Arc::new(Kept(Mutex::new(rollout.clone()))), gate, tools);
    *flags.present.write().unwrap() = Arc::new(rollout);
    flags
}

fn with_share(share: u8) -> Rollout {
    Rollout {
        revision: 1,
        rules: [(Flag::CompressedAnswers, Percentage(share))].into(),
        ..Rollout::default()
    }
}

fn clinic(number: u128) -> ClinicId {
    ClinicId::from(Uuid::from_u128(number))
}

const FLAG: Flag = Flag::CompressedAnswers;

#[test]
fn a_flag_is_found_by_its_name_and_says_what_it_switches() {
    for flag in Flag::ALL {
        assert_eq!(flag.name().parse(), Ok(*flag));
        assert!(flag.description().ends_with('.'), "{}", flag.name());
    }
    assert_eq!("nothing".parse::<Flag>(), Err(UnknownFlag));
}

#[test]
fn a_clinics_own_word_wins_over_the_share_and_that_over_the_default() {
    assert!(flags(Rollout::default()).is_on_for(clinic(1), FLAG));
    assert!(!flags(with_share(0)).is_on_for(clinic(1), FLAG));
    let own = Rollout {
        clinics: [((clinic(1), FLAG), true)].into(),
        ..with_share(0)
    };
    let flags = flags(own);
    assert!(flags.is_on_for(clinic(1), FLAG) && !flags.is_on_for(clinic(2), FLAG));
    let cx = TenantContext::for_test(clinic(1), UserId::from(Uuid::nil()), Permissions::NONE);
    assert!(flags.is_on(&cx, FLAG));
}

#[test]
fn about_as_many_clinics_as_the_share_says_have_it_on() {
    let flags = flags(with_share(30));
    let on = (0..10_000).filter(|number| flags.is_on_for(clinic(*number), FLAG));
    let on = on.count();
    assert!((2_800..3_200).contains(&on), "{on}");
}

#[test]
fn reasons_and_shares_are_read_strictly() {
    assert_eq!(
        " too many calls ".parse::<Reason>().unwrap().as_str(),
        "too many calls"
    );
    for wrong in ["", "  a ", "a\nb c", &"x".repeat(501)] {
        assert!(wrong.parse::<Reason>().is_err(), "{wrong:?}");
    }
    assert_eq!("100".parse(), Ok(Percentage(100)));
    for wrong in ["101", "-1", "1.5", "", "ten"] {
        assert_eq!(wrong.parse::<Percentage>(), Err(NotAPercentage));
    }
}

proptest! {
    #[test]
    fn a_clinic_that_has_it_keeps_it_while_the_share_grows(
        number in any::<u128>(), less in 0_u8..=100, more in 0_u8..=100,
    ) {
        let (less, more) = (less.min(more), less.max(more));
        let has = |share| flags(with_share(share)).is_on_for(clinic(number), FLAG);
        prop_assert!(!has(less) || has(more));
        prop_assert_eq!(has(less), has(less));
    }
}
