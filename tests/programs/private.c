/* A library that only its own programs find. */
int private_number(void) { return NUMBER; }
