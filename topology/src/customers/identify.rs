//! identify: who claims an e-mail, eldest first.
