"""What two or more services need; knows no service."""
