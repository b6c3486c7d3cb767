"""What tests of every service share: real servers on free ports, and fakes of our ports."""
