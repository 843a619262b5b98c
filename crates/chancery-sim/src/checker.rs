//! A search of every state that a model can come to, breadth first, each once.
//!
//! The shortest way to a violation is the one that is found. States are known again by 64 bits of a hash: of two
//! million, one in ten million searches would take two for one and pass over what is behind the second.
//!
//! What it deliberately does not do: properties of whole runs (that something happens at last). A model says which
//! places must be reached, and a search that missed one has proved nothing.

use std::collections::BTreeSet;
use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::fmt;

/// A model of something that goes on step by step.
pub trait Model: Sync {
    /// Everything that its future depends on.
    type State: Clone + Send + Sync;
    /// What can happen in one step.
    type Action: Copy + fmt::Debug + Send + Sync;
    /// What is broken when a property does not hold.
    type Broken: Clone + fmt::Debug + Send;
    /// A place that a search must have been to.
    type Goal: Copy + Ord + Send;

    /// Where it can begin.
    fn initial(&self) -> Vec<Self::State>;

    /// What can happen in a state.
    fn actions(&self, state: &Self::State, actions: &mut Vec<Self::Action>);

    /// The state after it; nothing if nothing comes of it.
    ///
    /// # Errors
    ///
    /// What is broken by the step or in the state behind it.
    fn step(
        &self,
        state: &Self::State,
        action: Self::Action,
    ) -> Result<Option<Self::State>, Self::Broken>;

    /// The same for states with the same future, and different for others.
    fn fingerprint(&self, state: &Self::State) -> u64;

    /// The places that a state is.
    fn goals(&self, state: &Self::State, goals: &mut BTreeSet<Self::Goal>);
}

/// What a search came to.
#[derive(Debug)]
pub struct Found<M: Model> {
    /// How many different states it has been to.
    pub states: usize,
    /// How many steps it took between them.
    pub steps: usize,
    /// How many steps the farthest of them is from the beginning.
    pub depth: usize,
    /// Which places it has been to.
    pub goals: BTreeSet<M::Goal>,
    /// The first property that it found broken.
    pub broken: Option<Counterexample<M>>,
    /// Whether states were left when it stopped.
    pub is_cut: bool,
}

/// A shortest way to where something is broken.
#[derive(Debug)]
pub struct Counterexample<M: Model> {
    /// What is broken.
    pub what: M::Broken,
    /// What happened, in order; the last step breaks it.
    pub trace: Vec<M::Action>,
}

/// How a state was first come to: from which, and by what. The first ones come from nowhere.
type Ways<A> = HashMap<u64, Option<(u64, A)>>;

/// A state with its fingerprint.
type Known<S> = (u64, S);

/// How many states are expanded before what is new is sorted out: 20 000, whose successors take some 100 MiB at most.
const BATCH_STATES: usize = 20_000;

/// What one thread found from its part of a batch.
struct Reached<M: Model> {
    next: Vec<(u64, M::Action, Known<M::State>)>,
    steps: usize,
    goals: BTreeSet<M::Goal>,
    broken: Option<(u64, M::Action, M::Broken)>,
}

/// Searches a model, up to so many states, with so many threads.
#[must_use]
pub fn search<M: Model>(model: &M, states_max: usize, threads: usize) -> Found<M> {
    let mut ways: Ways<M::Action> = HashMap::new();
    let mut level: Vec<Known<M::State>> = Vec::new();
    for state in model.initial() {
        let fingerprint = model.fingerprint(&state);
        if ways.insert(fingerprint, None).is_none() {
            level.push((fingerprint, state));
        }
    }
    let mut found = Found {
        states: 0,
        steps: 0,
        depth: 0,
        goals: BTreeSet::new(),
        broken: None,
        is_cut: false,
    };
    while !level.is_empty() && found.broken.is_none() && !found.is_cut {
        let mut next = Vec::new();
        for batch in level.chunks(BATCH_STATES) {
            if ways.len() >= states_max {
                found.is_cut = true;
                break;
            }
            merge(expand(model, batch, threads), &mut ways, &mut found, &mut next);
            if found.broken.is_some() {
                break;
            }
        }
        level = next;
        found.depth += usize::from(!level.is_empty());
    }
    found.states = ways.len();
    found
}

fn expand<M: Model>(model: &M, level: &[Known<M::State>], threads: usize) -> Vec<Reached<M>> {
    let part = level.len().div_ceil(threads.max(1)).max(1);
    std::thread::scope(|scope| {
        let parts = level.chunks(part).map(|part| scope.spawn(move || expand_part(model, part)));
        let running: Vec<_> = parts.collect();
        // A thread that panicked has found an engine that panics.
        let join = |thread: std::thread::ScopedJoinHandle<'_, _>| match thread.join() {
            Ok(reached) => reached,
            Err(panic) => std::panic::resume_unwind(panic),
        };
        running.into_iter().map(join).collect()
    })
}

fn expand_part<M: Model>(model: &M, part: &[Known<M::State>]) -> Reached<M> {
    let mut reached = Reached { next: Vec::new(), steps: 0, goals: BTreeSet::new(), broken: None };
    let mut actions = Vec::new();
    for (from, state) in part {
        model.goals(state, &mut reached.goals);
        actions.clear();
        model.actions(state, &mut actions);
        for &action in &actions {
            reached.steps += 1;
            match model.step(state, action) {
                Ok(None) => {}
                Ok(Some(next)) => {
                    let fingerprint = model.fingerprint(&next);
                    reached.next.push((*from, action, (fingerprint, next)));
                }
                Err(what) => {
                    reached.broken = Some((*from, action, what));
                    return reached;
                }
            }
        }
    }
    reached
}

/// Takes what is new into the next level.
fn merge<M: Model>(
    parts: Vec<Reached<M>>,
    ways: &mut Ways<M::Action>,
    found: &mut Found<M>,
    level: &mut Vec<Known<M::State>>,
) {
    for part in parts {
        found.steps += part.steps;
        found.goals.extend(part.goals);
        if let (Some((from, action, what)), None) = (part.broken, &found.broken) {
            let mut trace = trace(ways, from);
            trace.push(action);
            found.broken = Some(Counterexample { what, trace });
        }
        for (from, action, (fingerprint, state)) in part.next {
            if let Entry::Vacant(vacant) = ways.entry(fingerprint) {
                vacant.insert(Some((from, action)));
                level.push((fingerprint, state));
            }
        }
    }
}

fn trace<A: Copy>(ways: &Ways<A>, to: u64) -> Vec<A> {
    let mut trace = Vec::new();
    let mut at = to;
    while let Some(Some((from, action))) = ways.get(&at) {
        trace.push(*action);
        at = *from;
    }
    trace.reverse();
    trace
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Two counters up to a bound; broken where they have a sum.
    struct Counters {
        most: u8,
        broken_at: Option<u8>,
    }

    impl Model for Counters {
        type State = (u8, u8);
        type Action = bool;
        type Broken = u8;
        type Goal = u8;

        fn initial(&self) -> Vec<(u8, u8)> {
            vec![(0, 0)]
        }

        fn actions(&self, _: &(u8, u8), actions: &mut Vec<bool>) {
            actions.extend([false, true]);
        }

        fn step(&self, &(one, other): &(u8, u8), first: bool) -> Result<Option<(u8, u8)>, u8> {
            let next = if first { (one + 1, other) } else { (one, other + 1) };
            match next {
                (a, b) if Some(a + b) == self.broken_at => Err(a + b),
                (a, b) if a.max(b) > self.most => Ok(None),
                next => Ok(Some(next)),
            }
        }

        fn fingerprint(&self, &(one, other): &(u8, u8)) -> u64 {
            u64::from(one) << 8 | u64::from(other)
        }

        fn goals(&self, &(one, _): &(u8, u8), goals: &mut BTreeSet<u8>) {
            goals.insert(one);
        }
    }

    #[test]
    fn every_state_is_reached_once() {
        for threads in [1, 2, 3] {
            let found = search(&Counters { most: 9, broken_at: None }, usize::MAX, threads);
            assert_eq!((found.states, found.depth, found.steps), (100, 18, 200));
            assert_eq!((found.goals.len(), found.is_cut), (10, false));
            assert!(found.broken.is_none());
        }
    }

    #[test]
    fn the_shortest_way_to_what_is_broken_is_found() {
        let found = search(&Counters { most: 9, broken_at: Some(4) }, usize::MAX, 2);
        let broken = found.broken.unwrap();
        assert_eq!((broken.what, broken.trace.len()), (4, 4));
    }

    #[test]
    fn a_search_that_was_cut_says_so() {
        assert!(search(&Counters { most: 9, broken_at: None }, 20, 1).is_cut);
    }
}
