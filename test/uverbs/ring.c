/* An MPI program: what each rank holds goes ten places round the ring, then all are counted. */
#include <mpi.h>
#include <stdio.h>
#include <stdlib.h>

#define INTS (1 << 18)

int main(int argc, char **argv)
{
	int rank, ranks, one = 1, sum = 0;
	int *block = malloc(INTS * sizeof *block);
	MPI_Init(&argc, &argv);
	MPI_Comm_rank(MPI_COMM_WORLD, &rank);
	MPI_Comm_size(MPI_COMM_WORLD, &ranks);
	for (int i = 0; i < INTS; i++)
		block[i] = rank;
	for (int step = 0; step < 10; step++)
		MPI_Sendrecv_replace(block, INTS, MPI_INT, (rank + 1) % ranks, 0, (rank + ranks - 1) % ranks, 0, MPI_COMM_WORLD, MPI_STATUS_IGNORE);
	for (int i = 0; i < INTS; i++)
		if (block[i] != ((rank - 10) % ranks + ranks) % ranks)
			MPI_Abort(MPI_COMM_WORLD, 2);
	MPI_Allreduce(&one, &sum, 1, MPI_INT, MPI_SUM, MPI_COMM_WORLD);
	if (rank == 0)
		printf("%d ranks agree\n", sum);
	MPI_Finalize();
	return sum == ranks ? 0 : 1;
}
