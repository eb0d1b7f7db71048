//! A crowd: many made-up contacts in many clinics, for measuring. The same ones every time.
//!
//! What a contact is made of goes through the types and functions of the product, and its rows are
//! those that `PgContactStore` writes (a test holds the one to the
//! other); only the way in differs: `COPY`, in batches. There is neither audit nor event of it.

mod people;
mod rows;

use kernel::{ClinicId, Keys, UserId};
use tokio_postgres::Client;
use uuid::Uuid;

pub use people::{Dice, Person, RARE_SOURCE, RARE_TAG};
pub use rows::{Rows, WrittenContact};

/// Raised whenever the same numbers make another crowd.
const RECIPE: u32 = 1;

/// Contacts that are written together: what is held in memory at once.
const BATCH: u64 = 10_000;

/// Users of each clinic, who look after contacts. The last one looks after very few.
const USERS: u128 = 6;

/// How many contacts, in which clinics.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Crowd {
    /// Contacts of all clinics together.
    pub contacts: u64,
    /// Contacts of clinic 0, the largest.
    pub largest: u64,
    /// Clinics beside the largest, from rather large to tiny.
    pub others: u32,
}

impl Crowd {
    /// What tells this crowd from others: kept with a database that was filled with it.
    pub fn label(&self) -> String {
        format!(
            "crowd {RECIPE}: {} contacts, {} of them in the largest of {} clinics",
            self.contacts,
            self.largest,
            self.others + 1
        )
    }

    /// How many contacts each clinic has, the largest first.
    pub fn sizes(&self) -> Vec<u64> {
        let rest = self.contacts.saturating_sub(self.largest);
        let weight = |rank: u32| u64::from(self.others - rank).pow(2);
        let all: u64 = (0..self.others).map(weight).sum();
        let mut sizes = vec![self.largest.min(self.contacts)];
        sizes.extend((0..self.others).map(|rank| rest * weight(rank) / all.max(1)));
        let given: u64 = sizes.iter().sum();
        if let Some(last) = sizes.last_mut() {
            // What the division left over.
            *last += self.contacts.saturating_sub(given);
        }
        sizes
    }

    /// The id of the clinic of that rank; 0 is the largest.
    pub fn clinic(rank: usize) -> ClinicId {
        let rank = rank as u128;
        Uuid::from_u128(0x01a2_3456_7000_7000_8000_c200_0000_0000 | (rank << 8)).into()
    }

    /// The id of a user of that clinic, counted from 0.
    pub fn user(rank: usize, number: u128) -> UserId {
        let clinic = Uuid::from(Self::clinic(rank)).as_u128();
        Uuid::from_u128(clinic | (1 << 40) | (number % USERS)).into()
    }

    /// The id of that clinic's channel.
    pub fn channel(rank: usize) -> Uuid {
        Uuid::from_u128(Uuid::from(Self::clinic(rank)).as_u128() | (2 << 40))
    }

    /// Fills a migrated, empty database, as a superuser. `progress` is told how many contacts are
    /// there now.
    ///
    /// # Panics
    ///
    /// When the database refuses.
    pub async fn fill(&self, client: &Client, keys: &dyn Keys, progress: impl FnMut(u64)) {
        self.fill_beside(0, client, keys, progress).await;
    }

    /// Fills it with clinics whose ranks begin at `first`, beside those that are there: how a
    /// clinic fares while others grow.
    ///
    /// # Panics
    ///
    /// When the database refuses.
    pub async fn fill_beside(
        &self,
        first: usize,
        client: &Client,
        keys: &dyn Keys,
        mut progress: impl FnMut(u64),
    ) {
        // Every row is right by construction, and checking ten million references takes longer
        // than writing them.
        run(
            client,
            "SET session_replication_role = replica; SET synchronous_commit = off",
        )
        .await;
        let mut left = self.sizes();
        self.make_clinics(client, first, left.len()).await;
        let mut dice = Dice::new(1 + first as u64);
        let mut done = 0;
        while done < self.contacts {
            let until = (done + BATCH).min(self.contacts);
            let mut rows = Rows::default();
            for number in done..until {
                // Each contact in turn goes to a clinic by chance, so that clinics grow beside each
                // other and their rows lie mixed.
                let clinic = first + draw(&mut left, &mut dice);
                let person = Person::make(&mut dice, number, self.contacts, clinic);
                rows.contact(Self::clinic(clinic), &person.written(), keys);
                if dice.one_in(4) {
                    rows.conversation(clinic, &person, &mut dice);
                }
            }
            rows.copy(client).await;
            done = until;
            progress(done);
        }
        run(
            client,
            "RESET session_replication_role; RESET synchronous_commit",
        )
        .await;
        // What autovacuum does in time: statistics, and which pages are visible to all.
        run(client, "VACUUM (ANALYZE)").await;
    }

    async fn make_clinics(&self, client: &Client, first: usize, count: usize) {
        let settings = clinics::Settings::default().to_stored().to_string();
        let endpoint = Uuid::from_u128(0x01a2_3456_7000_7000_8000_c200_ffff_ffff);
        client
            .execute(
                "INSERT INTO app.webhook_endpoints
                     (id, provider, path_key, verify_token_sealed, created_at)
                 VALUES ($1, 'whatsapp-cloud', 'crowd', '', now()) ON CONFLICT DO NOTHING",
                &[&endpoint],
            )
            .await
            .expect("an endpoint can be made");
        for rank in first..first + count {
            let clinic = Uuid::from(Self::clinic(rank));
            client
                .execute(
                    "SELECT sec.create_clinic($1, $2, 'America/Sao_Paulo', 'pt-BR',
                         $3::text::jsonb, now())",
                    &[&clinic, &format!("Clinic {rank}"), &settings],
                )
                .await
                .expect("a clinic can be made");
            for number in 0..USERS {
                let role = if number == 0 { "owner" } else { "receptionist" };
                client
                    .execute(
                        "SELECT sec.create_member($1, $2, $3, NULL, $4, $5, now())",
                        &[
                            &Uuid::from(Self::user(rank, number)),
                            &format!("user{number}@clinic{rank}.example"),
                            &format!("User {number}"),
                            &clinic,
                            &role,
                        ],
                    )
                    .await
                    .expect("a member can be made");
            }
            client
                .execute(
                    "INSERT INTO app.channels (clinic_id, id, endpoint_id, provider, name,
                         external_id, status, row_version, created_at, updated_at)
                     VALUES ($1, $2, $3, 'whatsapp-cloud', 'WhatsApp', $4, 'active', 1, now(), now())",
                    &[&clinic, &Self::channel(rank), &endpoint, &format!("{rank}")],
                )
                .await
                .expect("a channel can be made");
        }
    }
}

/// One of those that are left to hand out, by chance.
fn draw(left: &mut [u64], dice: &mut Dice) -> usize {
    let mut at = dice.below(left.iter().sum());
    for (index, count) in left.iter_mut().enumerate() {
        if at < *count {
            *count -= 1;
            return index;
        }
        at -= *count;
    }
    0
}

async fn run(client: &Client, sql: &str) {
    if let Err(error) = client.batch_execute(sql).await {
        let told = error
            .as_db_error()
            .map_or_else(|| error.to_string(), |db| format!("{db:?}"));
        panic!("the crowd could not be written: {told}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sizes_add_up_and_no_clinic_is_larger_than_the_largest() {
        for (contacts, largest) in [(1_000_000, 100_000), (10_000, 1_000), (50, 50)] {
            let crowd = Crowd {
                contacts,
                largest,
                others: 45,
            };
            let sizes = crowd.sizes();
            assert_eq!(sizes.len(), 46);
            assert_eq!(sizes.iter().sum::<u64>(), contacts);
            assert!(sizes.iter().all(|size| *size <= largest), "{sizes:?}");
        }
    }
}
