"""Who runs next: cuts live tasks into subtasks, grants their leases, and settles what becomes of them."""
