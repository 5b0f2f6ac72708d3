"""Open-loop load on a prediction endpoint: requests go out at their times, whether or not earlier ones were answered."""
