//! Models of the service's decisions, and the checker that searches them.
//!
//! What is searched is the code that ships: a model holds the world around it, hands the real functions what they would
//! be handed, and keeps books of its own against which each property is held. Nothing depends on this crate, so a
//! planted fault can be in nothing that ships.
//!
//! **Invariant:** a model's books are kept from what truly happened in it, never from what a decision says.

pub mod checker;
pub mod rollout;
