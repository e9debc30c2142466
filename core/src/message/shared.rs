//! A context's messages, shared: a copy is a reference, whatever is appended afterwards.

use std::fmt;
use std::ops::Deref;
use std::sync::Arc;

use super::Message;

/// Messages in order, cheap to clone; reads as a slice.
///
/// A clone shows the same messages for ever. Whoever appends meanwhile copies the references, not the messages.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Messages(Arc<Vec<Arc<Message>>>);

impl Messages {
    /// The list, to be changed: nobody else's clone changes with it.
    pub(crate) fn edit(&mut self) -> &mut Vec<Arc<Message>> {
        Arc::make_mut(&mut self.0)
    }
}

impl Deref for Messages {
    type Target = [Arc<Message>];

    fn deref(&self) -> &Self::Target {
        &self.0
    }
}

impl fmt::Debug for Messages {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}

impl FromIterator<Arc<Message>> for Messages {
    fn from_iter<I: IntoIterator<Item = Arc<Message>>>(messages: I) -> Self {
        Self(Arc::new(messages.into_iter().collect()))
    }
}

impl<'a> IntoIterator for &'a Messages {
    type Item = &'a Arc<Message>;
    type IntoIter = std::slice::Iter<'a, Arc<Message>>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}
