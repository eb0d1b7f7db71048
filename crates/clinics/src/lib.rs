//! Clinics (the tenants), their branches, the users who log in, their memberships, and what each
//! role may do.

#![warn(missing_docs)]

pub mod branch;
pub mod clinic;
pub mod role;
pub mod values;
