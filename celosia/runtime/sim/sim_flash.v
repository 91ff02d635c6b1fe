// Simulation model of an SPI flash with four data lines: it gives data, and checks what it is asked.
//
// Times are checked in nanoseconds from the data sheet's figures and the period of the clock. The
// first broken rule is kept in `violation`, as its number in RULES below. What is read changes in
// the cycle after the clock's fall, and is right from the next one until the clock falls again.
// Lines that nobody drives read as noise.
//
// The part may be in any state that others leave it in, as `+left` says: 0 ready, 1 powered down,
// 2 and 3 expecting the address of a read on four lines and on two. `+flash` is a file with what it
// holds from OFFSET on; all other bytes are erased. `+power_up`, `+release`, `+reset`, `+deselect`,
// `+write`, `+dummy` and `+quad` make it another part than the parameters say.
//
// `doing` says what the part spends the cycle on: 1 data, 2 commands and addresses, 3 nothing,
// though it is selected; 0 it is not.
//
// RULES: 1 no command before power-up is over; 2 deselected for long enough; 3 unknown command;
// 4 a command is cut, or goes on; 5 no command while it wakes or resets; 6 no read but on all four
// lines, which must be switched on; 7 both sides drive; 8 nobody drives what is taken; 9 data and
// select are there a cycle before the clock rises, and stay for the next; 10 no command but its
// release in power-down; 11 no reset without its enable; 12 status is written after its enable;
// 13 the clock is up for one cycle.

module flash_model #(
    parameter SIZE = 1 << 24,
    OFFSET = 0,
    PERIOD_PS = 16667,
    POWER_UP_NS = 0, RELEASE_NS = 0, RESET_NS = 0, DESELECT_NS = 0, WRITE_NS = 0,
    STATUS = 8'h05,   // reads the status whose bit QUAD_BIT says that the four lines are on
    QUAD_BIT = 6,
    READ = 8'hEB,
    DUMMY = 4,
    QUAD = 1  // that bit as the part keeps it
) (
    input clk,
    input rst,  // the machine's, which may come at any time
    input cs, sck,
    input [3:0] dq_o,
    input dq_oe,
    output reg [3:0] dq_i,
    output reg [7:0] violation,
    output reg [31:0] reads,
    output reg [1:0] doing
);
    /* verilator lint_off BLKSEQ */
    localparam [3:0] COMMAND = 0, ADDRESS = 1, MODE = 2, WAIT = 3, DATA = 4, ARGUMENT = 5, DONE = 6,
        IGNORED = 7, ANSWER = 8;
    reg [7:0] memory [0:SIZE-1];
    reg [63:0] cycle, raised, busy;
    reg [3:0] phase, dq_before;
    reg cs_before, sck_before, oe_before;
    reg down, quad, resettable, begun, driving, low;
    reg [1:0] writable;  // 0 nothing, 1 until power off, 2 for good
    reg [1:0] lines, expected;  // of address and mode bits: 0 none, 1 four, 2 two
    reg [7:0] command, argument, count;
    reg [31:0] address;
    reg [15:0] noise;
    integer n, file, left, power_up, release_time, reset_time, deselect, dummy, kept,
        write_time;
    string name;

    function too_early(input [63:0] since, input [63:0] ns);
        too_early = (cycle - since) * PERIOD_PS < 1000 * ns;
    endfunction

    task broken(input [7:0] rule);
        if (violation == 0) violation = rule;
    endtask

    initial begin
        for (n = 0; n < SIZE; n = n + 1) memory[n] = 8'hFF;
        if ($value$plusargs("flash=%s", name)) begin
            file = $fopen(name, "rb");
            if (file != 0) n = $fread(memory, file, OFFSET);
        end
        if (!$value$plusargs("left=%d", left)) left = 0;
        if (!$value$plusargs("power_up=%d", power_up)) power_up = POWER_UP_NS;
        if (!$value$plusargs("release=%d", release_time)) release_time = RELEASE_NS;
        if (!$value$plusargs("reset=%d", reset_time)) reset_time = RESET_NS;
        if (!$value$plusargs("deselect=%d", deselect)) deselect = DESELECT_NS;
        if (!$value$plusargs("dummy=%d", dummy)) dummy = DUMMY;
        if (!$value$plusargs("quad=%d", kept)) kept = QUAD;
        if (!$value$plusargs("write=%d", write_time)) write_time = WRITE_NS;
        down = left == 1; expected = left == 2 ? 1 : left == 3 ? 2 : 0;
        cycle = 0; raised = 0; busy = 0; phase = COMMAND; dq_before = 0; cs_before = 0;
        sck_before = 0; oe_before = 0; quad = kept != 0; resettable = 0; writable = 0; begun = 0;
        driving = 0; low = 0; lines = 0; command = 0; argument = 0; count = 0; address = 0;
        noise = 16'hBEEF; violation = 0; reads = 0; doing = 0; dq_i = 0;
    end

    // The end of what `cs` has begun: short commands do what they are for.
    task finish;
        case (phase)
            DONE: case (command)
                8'hAB: begin
                    down = 0;
                    busy = cycle + (1000 * release_time + PERIOD_PS - 1) / PERIOD_PS;
                end
                8'h06: writable = 2;
                8'h50: writable = 1;
                8'h66: resettable = 1;
                8'h99: begin
                    if (!resettable) broken(11);
                    quad = kept != 0;
                    expected = 0;
                    busy = cycle + (1000 * reset_time + PERIOD_PS - 1) / PERIOD_PS;
                end
                8'h01, 8'h31: begin
                    if (writable != (command == 8'h01 ? 2 : 1)) broken(12);
                    quad = argument[QUAD_BIT];
                    if (writable == 2) kept = quad;
                    busy = cycle + (64'd1000 * write_time + PERIOD_PS - 1) / PERIOD_PS;
                end
                default: ;
            endcase
            DATA, IGNORED: ;
            ANSWER: if (count != 8 && !rst) broken(4);
            // A part that expected an address is left alone by less than that.
            default: if (begun && !rst) broken(4);
        endcase
        if (phase != DONE || command != 8'h66) resettable = 0;
        if (phase != DONE || command != 8'h50 && command != 8'h06) writable = 0;
        driving = 0;
    endtask

    // The clock rises: a bit of a command, or two or four of an address.
    task take;
        if (phase < WAIT || phase == ARGUMENT) begin
            if (!dq_oe) broken(8);
        end
        count = count + 1;
        case (phase)
            COMMAND: begin
                command = {command[6:0], dq_o[0]};
                if (count == 8) begin
                    count = 0;
                    phase = DONE;
                    if (down && command != 8'hAB) begin
                        phase = IGNORED;
                        if (command != 8'hFF) broken(10);
                    end else case (command)
                        8'hFF: phase = IGNORED;
                        8'hAB, 8'h66, 8'h99: ;
                        8'h06: if (STATUS != 8'h05) broken(3);
                        8'h50: if (STATUS != 8'h35) broken(3);
                        8'h01: if (STATUS != 8'h05) broken(3); else phase = ARGUMENT;
                        8'h31: if (STATUS != 8'h35) broken(3); else phase = ARGUMENT;
                        STATUS: phase = ANSWER;
                        READ: begin
                            if (!quad) broken(6);
                            lines = 1;
                            phase = ADDRESS;
                        end
                        default: broken(3);
                    endcase
                end
            end
            ARGUMENT: begin
                argument = {argument[6:0], dq_o[0]};
                if (count == 8) phase = DONE;
            end
            ADDRESS: begin
                address = lines == 1 ? {address[27:0], dq_o} : {address[29:0], dq_o[1:0]};
                if (count == (lines == 1 ? 6 : 12)) begin
                    count = 0;
                    address = address & 32'hFFFFFF;
                    phase = MODE;
                end
            end
            MODE: begin
                argument = lines == 1 ? {argument[3:0], dq_o} : {argument[5:0], dq_o[1:0]};
                if (count == (lines == 1 ? 2 : 4)) begin
                    count = 0;
                    expected = argument[5:4] == 2'b10 ? lines : 0;
                    phase = WAIT;
                end
            end
            WAIT: if (count == dummy) begin
                low = 0;
                phase = DATA;
                reads = reads + 1;
            end
            DONE: broken(4);
            ANSWER: if (count > 8) broken(4);
            default: ;
        endcase
    endtask

    always @(posedge clk) begin
        cycle = cycle + 1;
        noise = {noise[14:0], noise[15] ^ noise[13] ^ noise[12] ^ noise[10]};
        dq_i <= driving && !(cs && sck) ? dq_i : noise[3:0];
        doing = !cs ? 0 : phase != DATA ? 2 : sck || sck_before || driving == 0 ? 1 : 3;

        if (dq_oe && driving) broken(7);
        if (cs && !cs_before) begin
            if (too_early(0, power_up)) broken(1);
            if (raised != 0 && too_early(raised, deselect)) broken(2);
            if (cycle < busy) broken(5);
            if (sck) broken(9);
            lines = expected;
            phase = expected == 0 ? COMMAND : ADDRESS;
            begun = expected == 0;
            count = 0;
            address = 0;
        end
        if (!cs && cs_before) begin
            raised = cycle;
            finish;
        end
        if (cs && sck && !sck_before) begin
            if (!cs_before || dq_oe && (dq_o != dq_before || !oe_before)) broken(9);
            take;
        end
        if (cs && sck && sck_before) broken(13);
        // The clock has fallen: the next half of a byte.
        if (cs && !sck && sck_before && phase == DATA) begin
            driving = 1;
            dq_i <= low ? memory[address % SIZE][3:0] : memory[address % SIZE][7:4];
            if (low) address = address + 1;
            low = !low;
        end
        if (cs && !sck && sck_before && phase == ANSWER) begin
            driving = 1;
            dq_i <= noise[3:0] & 4'b1101 | ((quad && 7 - count == QUAD_BIT) << 1);
        end
        cs_before = cs; sck_before = sck; dq_before = dq_o; oe_before = dq_oe;
    end
endmodule
