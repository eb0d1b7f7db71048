//! The rules against a model of the world: writers, a slow sequencer, nodes whose polls are answered
//! late, a shared cache that is filled late, gaps. Nobody is served what was overwritten longer ago
//! than promised, and who writes sees what they wrote.

#![allow(clippy::indexing_slicing, clippy::unwrap_used, reason = "tests may")]

use std::collections::HashMap;
use std::sync::Arc;

use kernel::stream::Topic;
use proptest::prelude::*;
use uuid::Uuid;

use super::*;

const CLINICS: usize = 2;
const NODES: usize = 2;
/// What the model's writers write about.
const WRITTEN: [Topic; 3] = [Topic::Contact, Topic::Message, Topic::Other];
const READ: [CacheDomain; 2] = [CacheDomain::Contacts, CacheDomain::Conversations];

type Versions = [u64; WRITTEN.len()];

#[derive(Debug, Clone)]
enum Step {
    Write {
        node: usize,
        clinic: usize,
        topic: usize,
    },
    /// The sequencer gives so many of the oldest events their position.
    Sequence(usize),
    PollBegins(usize),
    /// The statement of the poll runs; its answer is on its way.
    PollLooks {
        node: usize,
        live: bool,
    },
    PollEnds(usize),
    PollLost(usize),
    Read {
        node: usize,
        clinic: usize,
        domain: usize,
    },
    /// A read that found nothing looks at the store now, or keeps what it saw.
    Store(usize),
    Keep(usize),
    Wait(u64),
    Gap(usize),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        4 => (0..NODES, 0..CLINICS, 0..WRITTEN.len())
            .prop_map(|(node, clinic, topic)| Step::Write { node, clinic, topic }),
        3 => (0..4_usize).prop_map(Step::Sequence),
        4 => (0..NODES).prop_map(Step::PollBegins),
        4 => (0..NODES, prop::bool::weighted(0.9))
            .prop_map(|(node, live)| Step::PollLooks { node, live }),
        4 => (0..NODES).prop_map(Step::PollEnds),
        1 => (0..NODES).prop_map(Step::PollLost),
        8 => (0..NODES, 0..CLINICS, 0..READ.len())
            .prop_map(|(node, clinic, domain)| Step::Read { node, clinic, domain }),
        4 => (0..4_usize).prop_map(Step::Store),
        4 => (0..4_usize).prop_map(Step::Keep),
        3 => prop_oneof![1..50_u64, 200..1_200_u64].prop_map(Step::Wait),
        1 => (0..NODES).prop_map(Step::Gap),
    ];
    prop::collection::vec(step, 1..250)
}

/// A read that is under way: where it will be kept, and what it saw of the store.
struct Reading {
    clinic: usize,
    domain: CacheDomain,
    generation: Generation,
    saw: Option<Versions>,
}

#[derive(Default)]
struct Poll {
    start: Option<PollStart>,
    answer: Option<PollAnswer>,
}

struct Node {
    generations: Arc<Generations>,
    poll: Poll,
    after: u64,
    /// What it wrote itself.
    wrote: [Versions; CLINICS],
}

struct World {
    now: u64,
    versions: [Versions; CLINICS],
    /// When each version of each topic was committed.
    history: Vec<(u64, usize, usize, u64)>,
    outbox: Vec<(usize, usize)>,
    heads: [i64; CLINICS],
    /// Position and batch of each topic.
    topics: HashMap<(usize, usize), (i64, u64)>,
    batch: u64,
    nodes: Vec<Node>,
    /// Shared by the nodes: the harder case.
    kept: HashMap<(usize, CacheDomain, i64), Versions>,
    readings: Vec<Reading>,
}

fn clinic_id(at: usize) -> ClinicId {
    ClinicId::from(Uuid::from_u128(at as u128 + 1))
}

fn index(clinic: ClinicId) -> usize {
    use kernel::TypedId as _;
    usize::try_from(clinic.as_uuid().as_u128()).unwrap() - 1
}

impl World {
    fn new() -> Self {
        let node = || Node {
            generations: Arc::new(Generations::new(|| (), || ())),
            poll: Poll::default(),
            after: 0,
            wrote: Default::default(),
        };
        Self {
            now: 1,
            versions: Default::default(),
            history: Vec::new(),
            outbox: Vec::new(),
            heads: Default::default(),
            topics: HashMap::new(),
            batch: 0,
            nodes: (0..NODES).map(|_| node()).collect(),
            kept: HashMap::new(),
            readings: Vec::new(),
        }
    }

    /// Answers how often something was served from the cache.
    fn step(&mut self, step: &Step) -> usize {
        match *step {
            Step::Write {
                node,
                clinic,
                topic,
            } => {
                self.versions[clinic][topic] += 1;
                let version = self.versions[clinic][topic];
                self.history.push((self.now, clinic, topic, version));
                self.outbox.push((clinic, topic));
                let node = &mut self.nodes[node];
                node.wrote[clinic][topic] = version;
                node.generations
                    .committed(clinic_id(clinic), Topics::of(&[WRITTEN[topic]]));
            }
            Step::Sequence(most) => {
                self.batch += 1;
                let most = most.min(self.outbox.len());
                for (clinic, topic) in self.outbox.drain(..most) {
                    self.heads[clinic] += 1;
                    let place = (self.heads[clinic], self.batch);
                    self.topics.insert((clinic, topic), place);
                }
            }
            Step::PollBegins(node) => {
                let (now, node) = (self.now, &mut self.nodes[node]);
                if node.poll.start.is_none() && node.poll.answer.is_none() {
                    node.poll.start = Some(node.generations.poll_begins_at(now));
                }
            }
            Step::PollLooks { node, live } => self.look(node, live),
            Step::PollEnds(node) => {
                if let Some(answer) = self.nodes[node].poll.answer.take() {
                    self.nodes[node].generations.take_answer(&answer);
                }
            }
            Step::PollLost(node) | Step::Gap(node) => {
                // The follower connects anew.
                let node = &mut self.nodes[node];
                node.poll = Poll::default();
                node.after = self.batch;
                node.generations.reset();
            }
            Step::Read {
                node,
                clinic,
                domain,
            } => return self.read(node, clinic, READ[domain]),
            Step::Store(at) => {
                let versions = &self.versions;
                if let Some(reading) = self.readings.get_mut(at) {
                    reading.saw.get_or_insert(versions[reading.clinic]);
                }
            }
            Step::Keep(at) => {
                if self
                    .readings
                    .get(at)
                    .is_some_and(|reading| reading.saw.is_some())
                {
                    let reading = self.readings.remove(at);
                    let key = (
                        reading.clinic,
                        reading.domain,
                        reading.generation.position(),
                    );
                    self.kept.insert(key, reading.saw.unwrap());
                }
            }
            Step::Wait(time) => self.now += time,
        }
        0
    }

    fn look(&mut self, at: usize, live: bool) {
        let node = &mut self.nodes[at];
        let Some(start) = node.poll.start.take() else {
            return;
        };
        let wanted: Vec<usize> = start.wanted.iter().map(|clinic| index(*clinic)).collect();
        let after = node.after;
        let moved = self
            .topics
            .iter()
            .filter(|((clinic, _), (_, batch))| *batch > after || wanted.contains(clinic));
        // An answer that is not whole tells of no pending events.
        let pending = self.outbox.iter().filter(|_| live);
        node.poll.answer = Some(PollAnswer {
            number: start.number,
            wanted: start.wanted,
            moved: moved
                .map(|((clinic, topic), (position, _))| {
                    (clinic_id(*clinic), WRITTEN[*topic], *position)
                })
                .collect(),
            pending: pending
                .map(|(clinic, topic)| (clinic_id(*clinic), WRITTEN[*topic]))
                .collect(),
            live,
        });
        node.after = self.batch;
    }

    fn read(&mut self, node: usize, clinic: usize, domain: CacheDomain) -> usize {
        let node = &self.nodes[node];
        let generation = node
            .generations
            .generation_at(self.now, clinic_id(clinic), domain);
        let Some(generation) = generation else {
            return 0;
        };
        let Some(served) = self.kept.get(&(clinic, domain, generation.position())) else {
            self.readings.push(Reading {
                clinic,
                domain,
                generation,
                saw: None,
            });
            return 0;
        };
        let promised = u64::try_from(BELIEVED_FOR.as_millis()).unwrap();
        for (topic, of) in WRITTEN.iter().enumerate() {
            if !policy(domain).dropped_by.has(*of) {
                continue;
            }
            let old = self
                .history
                .iter()
                .rev()
                .find(|(at, of_clinic, of_topic, _)| {
                    (*of_clinic, *of_topic) == (clinic, topic) && *at + promised < self.now
                });
            if let Some((_, _, _, version)) = old {
                assert!(
                    served[topic] >= *version,
                    "{of:?} was overwritten too long ago"
                );
            }
            let own = node.wrote[clinic][topic];
            assert!(served[topic] >= own, "{of:?} was written by this very node");
        }
        1
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(600))]

    #[test]
    fn nothing_is_served_that_was_overwritten_longer_ago_than_promised(steps in steps()) {
        let mut world = World::new();
        for step in &steps {
            world.step(step);
        }
    }
}

/// A quiet poll of one node.
fn poll(world: &mut World, node: usize) {
    for step in [
        Step::PollBegins(node),
        Step::PollLooks { node, live: true },
        Step::PollEnds(node),
    ] {
        world.step(&step);
    }
}

fn read(world: &mut World, node: usize) -> usize {
    let step = Step::Read {
        node,
        clinic: 0,
        domain: 0,
    };
    let served = world.step(&step);
    world.step(&Step::Store(0));
    world.step(&Step::Keep(0));
    served
}

#[test]
fn what_was_kept_is_served_until_it_changes_and_again_afterwards() {
    let mut world = World::new();
    poll(&mut world, 0);
    // Unknown, then asked for, then kept, then served.
    assert_eq!(read(&mut world, 0), 0);
    poll(&mut world, 0);
    assert_eq!(read(&mut world, 0), 0);
    assert_eq!(read(&mut world, 0), 1);
    world.step(&Step::Write {
        node: 1,
        clinic: 0,
        topic: 0,
    });
    poll(&mut world, 0);
    // Committed and without a position: passed by.
    assert_eq!(read(&mut world, 0), 0);
    assert_eq!(read(&mut world, 0), 0);
    world.step(&Step::Sequence(1));
    poll(&mut world, 0);
    assert_eq!(read(&mut world, 0), 0);
    assert_eq!(read(&mut world, 0), 1);
    // Another domain's event changes nothing.
    world.step(&Step::Write {
        node: 1,
        clinic: 0,
        topic: 1,
    });
    world.step(&Step::Sequence(1));
    poll(&mut world, 0);
    assert_eq!(read(&mut world, 0), 1);
    // The stream is not heard of.
    world.step(&Step::Wait(901));
    assert_eq!(read(&mut world, 0), 0);
    poll(&mut world, 0);
    assert_eq!(read(&mut world, 0), 1);
}

#[test]
fn who_writes_passes_by_until_a_later_poll_has_ended() {
    let mut world = World::new();
    poll(&mut world, 0);
    read(&mut world, 0);
    poll(&mut world, 0);
    read(&mut world, 0);
    assert_eq!(read(&mut world, 0), 1);
    // A poll that began before the write says nothing of it.
    world.step(&Step::PollBegins(0));
    world.step(&Step::Write {
        node: 0,
        clinic: 0,
        topic: 0,
    });
    world.step(&Step::PollLooks {
        node: 0,
        live: true,
    });
    world.step(&Step::PollEnds(0));
    assert_eq!(read(&mut world, 0), 0);
    world.step(&Step::Sequence(1));
    assert_eq!(read(&mut world, 0), 0);
    poll(&mut world, 0);
    assert_eq!(read(&mut world, 0), 0);
    assert_eq!(read(&mut world, 0), 1);
}
