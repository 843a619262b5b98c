//! The rollout engine among everything that can happen around it.
//!
//! One key with three versions, of which the third may be a standby; two rollouts that want it; three verifiers, of
//! which one lies; people who order; an analysis whose pictures come late; versions that are suspended and
//! compromised; and a service that is killed between what it decided and what is durable. Each is a step of its own, in
//! every order, within the bounds of [`Bounds`]. What decides is [`chancery_core::rollout`], called as the service
//! calls it.
//!
//! **Invariant:** what the properties are held against ([`books`]) is taken from the world before a [`Fault`] touches
//! what the engine is told, and from the rows after.

mod books;
mod fault;
mod fixtures;
mod step;
mod world;

use std::collections::BTreeSet;
use std::collections::hash_map::DefaultHasher;
use std::hash::{Hash, Hasher};

use chancery_core::id::PrincipalId;
use chancery_core::rollout::{Order, Outcome, Overridable, StageName, Status};
use chancery_core::state::KeyEvent;

pub use books::Broken;
pub use fault::Fault;
pub use fixtures::Beginning;
pub use world::World;

use crate::checker::Model;

/// How much can happen.
#[derive(Clone, Debug)]
pub struct Bounds {
    /// How each run may begin.
    pub beginnings: Vec<Beginning>,
    /// How long it takes, in the time of the model.
    pub horizon: u64,
    /// How often people pause, resume, roll back, abort or override, in all.
    pub orders: u8,
    /// Which of these they order.
    pub ordered: Vec<Order>,
    /// How often a version is suspended, reported compromised, or taken back from a suspension.
    pub events: u8,
    /// How often the service is killed.
    pub crashes: u8,
    /// How often something else of the tenant changes.
    pub others: u8,
    /// What the analysis may say.
    pub outcomes: Vec<Sight>,
    /// Whether the second rollout is tried.
    pub is_contested: bool,
}

/// What the analysis says of the one trigger.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Sight {
    /// What the outcome says; a failure is reported by both honest verifiers.
    Plain(Outcome),
    /// A failure that the liar alone reports, again and again.
    FailureOfOne,
}

/// What can happen in one step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Time goes on.
    Wait,
    /// Somebody asks for a rollout.
    Start(usize),
    /// The engine looks at one.
    Tick(usize),
    /// A person orders something of one.
    Order(usize, Order),
    /// Somebody orders something and is named as nobody.
    OrderOfNobody(usize),
    /// What was decided becomes durable.
    Commit,
    /// The service is killed: what was decided is lost, and so is a moment of the time served.
    Crash,
    /// A version's state changes by a command.
    Event(u32, KeyEvent),
    /// Something else of the tenant changes, under an epoch.
    Other,
    /// An honest verifier takes the latest bundle.
    Fetch(usize),
    /// And its acknowledgement arrives.
    Deliver(usize),
    /// The liar says that it has the latest bundle.
    LieOfNow,
    /// The liar says that it has one that is not made yet.
    LieOfLater,
    /// The analysis says something about the schedule there is.
    See(Sight),
    /// It says something about the schedule before, late.
    SeeLate(Sight),
    /// The new version has answered.
    Answer,
    /// All paths were gone.
    Exercise,
    /// Somebody looked for the old version, and it was seen at this moment.
    OldSeen,
    /// A signature of the second version did not verify in the signer.
    Break,
}

/// A place that a search must have been to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Goal {
    /// A rollout in a stage: the first or the second, and which.
    Stage(usize, StageName),
    /// One that is paused.
    Paused(usize),
    /// One that goes back, and whose verifiers are told first.
    Withdrawing(usize),
    /// One that went back.
    RolledBack(usize),
    /// One that was given up.
    Aborted(usize),
    /// One whose standby took over.
    OnStandby(usize),
    /// One that is done.
    Done(usize),
    /// One of which a person went past a gate.
    Overridden(usize),
    /// A decision that was overtaken.
    Overtaken,
}

/// The model.
#[derive(Clone, Debug)]
pub struct Rollouts {
    /// How much can happen.
    pub bounds: Bounds,
    /// What is wrong with it, if something is planted.
    pub fault: Option<Fault>,
}

/// The person who orders.
pub(crate) const PERSON: PrincipalId = PrincipalId::from_bytes([5; 16]);

/// What counts against the bound of orders.
pub const ORDERS: [Order; 5] = [
    Order::Pause,
    Order::Resume,
    Order::RollBack,
    Order::Abort,
    Order::Override(Overridable::Acknowledgement),
];

/// What a command does to a version in the model.
const EVENTS: [KeyEvent; 3] = [KeyEvent::ReportCompromise, KeyEvent::Suspend, KeyEvent::Resume];

impl Model for Rollouts {
    type State = World;
    type Action = Action;
    type Broken = Broken;
    type Goal = Goal;

    fn initial(&self) -> Vec<World> {
        self.bounds.beginnings.iter().map(|beginning| World::new(*beginning)).collect()
    }

    fn actions(&self, world: &World, actions: &mut Vec<Action>) {
        if world.decided.is_some() {
            actions.push(Action::Commit);
        } else {
            self.decisions(world, actions);
        }
        if world.now < self.bounds.horizon {
            actions.push(Action::Wait);
        }
        if world.spent.crashes < self.bounds.crashes {
            actions.push(Action::Crash);
        }
        if world.spent.others < self.bounds.others {
            actions.push(Action::Other);
        }
        if world.spent.events < self.bounds.events {
            actions.extend(world.live().filter(|it| it.is_trial()).map(|_| Action::Break));
            let of_versions = [1, 2].into_iter();
            actions.extend(of_versions.flat_map(|n| EVENTS.map(|event| Action::Event(n, event))));
        }
        // What is seen while something is under way is seen as well when it is durable, or late.
        if let (Some(rollout), None) = (world.live(), &world.decided) {
            self.around(world, rollout.current().map(|stage| stage.name), actions);
        }
    }

    fn step(&self, world: &World, action: Action) -> Result<Option<World>, Broken> {
        let next = self.happen(world, action)?;
        match next {
            Some(next) if next != *world => {
                // No row changes by anything else.
                if matches!(action, Action::Commit | Action::Event(..)) {
                    next.check()?;
                }
                Ok(Some(next))
            }
            _ => Ok(None),
        }
    }

    fn fingerprint(&self, world: &World) -> u64 {
        let mut hasher = DefaultHasher::new();
        world.hash(&mut hasher);
        hasher.finish()
    }

    fn goals(&self, world: &World, goals: &mut BTreeSet<Goal>) {
        for (slot, row) in world.rollouts.iter().enumerate() {
            let Some(rollout) = row.as_deref() else { continue };
            goals.extend(rollout.current().map(|stage| Goal::Stage(slot, stage.name)));
            goals.extend(match rollout.status {
                Status::Running => None,
                Status::Withdrawing { .. } => Some(Goal::Withdrawing(slot)),
                Status::Paused(_) => Some(Goal::Paused(slot)),
                Status::RolledBack(_) => Some(Goal::RolledBack(slot)),
                Status::Aborted(_) => Some(Goal::Aborted(slot)),
                Status::OnStandby { .. } => Some(Goal::OnStandby(slot)),
                Status::Done => Some(Goal::Done(slot)),
            });
            if !rollout.overrides.is_empty() {
                goals.insert(Goal::Overridden(slot));
            }
        }
        if world.is_overtaken() {
            goals.insert(Goal::Overtaken);
        }
    }
}

impl Rollouts {
    /// What can be decided.
    fn decisions(&self, world: &World, actions: &mut Vec<Action>) {
        let slots = if self.bounds.is_contested { 2 } else { 1 };
        for slot in 0..slots {
            match world.rollout(slot) {
                None => actions.push(Action::Start(slot)),
                Some(rollout) if !rollout.status.is_over() => {
                    actions.push(Action::Tick(slot));
                    // Elsewhere it is what the engine does by itself.
                    if rollout.current().is_some_and(|stage| stage.name >= StageName::Soak) {
                        actions.push(Action::Order(slot, Order::Advance));
                    }
                    if world.spent.orders < self.bounds.orders {
                        let ordered = self.bounds.ordered.iter();
                        actions.extend(ordered.map(|order| Action::Order(slot, *order)));
                        actions.push(Action::OrderOfNobody(slot));
                    }
                }
                Some(_) => {}
            }
        }
    }

    /// What can happen around a rollout in a stage.
    fn around(&self, world: &World, stage: Option<StageName>, actions: &mut Vec<Action>) {
        let Some(stage) = stage else { return };
        if stage < StageName::Canary {
            actions.extend([Action::Fetch(0), Action::Fetch(1), Action::Deliver(0)]);
            actions.extend([Action::LieOfNow, Action::LieOfLater]);
        }
        if stage.is_trial() {
            actions.extend(self.bounds.outcomes.iter().map(|sight| Action::See(*sight)));
            if world.sees_before() {
                actions.extend(self.bounds.outcomes.iter().map(|sight| Action::SeeLate(*sight)));
            }
            let has_samples = world.picture.has_samples && !world.sees_before();
            actions.push(if has_samples { Action::Exercise } else { Action::Answer });
        }
        if stage == StageName::Soak {
            actions.push(Action::OldSeen);
        }
    }
}
